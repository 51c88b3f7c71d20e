"""What the documents tell people to type: commands are read by the commands' own parsers, and
Python is run. Longer runs are parsed alone.
"""

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gptrec.command import COMMANDS, main
from policies.testing import check_policy
from simulator import Experiment
from simulator.settings import LOG_FLAGS
from simulator.users.testing import check_user_model

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
SLOW = "simulate(Experiment("  # a whole run


def blocks(language: str) -> list[tuple[str, str]]:
    """(document, text) of every fenced block of a language."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M):
            if match.group(1) == language:
                found.append((path.name, match.group(2)))
    return found


def commands() -> list[list[str]]:
    """Every command line of the blocks, as words without the folder of the programs."""
    lines = []
    for _, block in blocks(""):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.removeprefix(".venv/bin/")
            if words.startswith(("python ", "gptrec ")):
                lines.append(shlex.split(words, comments=True))
    return lines


TOLD = re.compile(
    r"`(\.venv/bin/)?((?:python |gptrec |benchmarks/|(?:simulator|analysis|gptrec)\.\w+ )[^`]+)`"
)


def inline() -> list[list[str]]:
    """Every command line between backticks in the text, with short names of modules and benchmarks
    as well; what has neither a flag nor the folder of the programs is a name and no command.
    """
    lines = []
    for path in DOCUMENTS:
        for match in TOLD.finditer(path.read_text(encoding="utf-8")):
            words = shlex.split(match[2].replace("\n", " "))
            if match[1] or any(word.startswith("--") for word in words):
                if words[0].endswith(".py"):
                    words.insert(0, "python")
                elif words[0] not in ("python", "gptrec"):
                    words[:0] = ["python", "-m"]
                lines.append(words)
    return lines


EVERY = [*commands(), *inline()]


def test_there_is_something_to_check() -> None:
    assert len(commands()) > 20
    assert len(inline()) > 20
    assert len(blocks("python")) >= 4


@pytest.mark.parametrize("words", EVERY, ids=[" ".join(words[1:])[:70] for words in EVERY])
def test_a_command_of_the_documents_is_understood(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "gptrec":
        if words[1] == "--help":
            return
        words = [words[0], "-m", COMMANDS[words[1]][0], *words[2:]]
    if words[1] == "-c":
        compile(words[2], "document", "exec")
    elif words[1].endswith(".py"):
        script = (ROOT / words[1]).read_text(encoding="utf-8")
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        if "add_log_flags" in script:
            flags -= {f"--{name.replace('_', '-')}" for name in LOG_FLAGS}
        assert [flag for flag in flags if f'"{flag}"' not in script] == []
    else:
        parser = importlib.import_module(words[2]).parser()
        try:
            parser.parse_args(words[3:])
        except SystemExit as stopped:
            assert stopped.code == 0, capsys.readouterr().err  # noqa: PT017 (--help stops, too)


@pytest.mark.parametrize(
    ("document", "text"), blocks("python"), ids=[name for name, _ in blocks("python")]
)
def test_python_of_the_documents_runs(
    document: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compile(text, document, "exec")
    if SLOW in text:
        arguments = re.search(r"simulate\((Experiment\(.*?\))\)$", text, re.M)
        assert arguments is not None
        assert isinstance(eval(arguments.group(1), {"Experiment": Experiment}), Experiment)
        return
    named = re.match(r"# (\w+)\.py\n", text)
    if named is None:
        exec(code, {"np": np})
        return
    modules = {}
    for other, code_ in blocks("python"):  # modules of one document know each other
        if other == document and (title := re.match(r"# (\w+)\.py\n", code_)) is not None:
            (tmp_path / f"{title.group(1)}.py").write_text(code_)
            modules[title.group(1)] = code_
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(named.group(1))
    if hasattr(module, "MyPolicy"):
        check_policy(module.MyPolicy)
    if hasattr(module, "users"):
        check_user_model(module.users, n_draws=200)
    for name in modules:
        sys.modules.pop(name, None)


def test_links_between_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([\w./-]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_page_stands_in_the_site_and_every_page_of_it_is_there() -> None:
    listed = set(re.findall(r": ([\w]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 800


QUICKER = {  # what takes most of the time is tested elsewhere
    "run": ["--quiet", "--no-sensitivity", "--draws", "20", "--users", "300", "--days", "1"],
}
LIGHT = ["--policies", "itemknn,popularity"]  # in place of networks where none is named
ELSEWHERE = {  # minutes, however small
    "study": "tests/simulator/loop/test_loop.py",
    "evaluate": "tests/gptrec/offline/test_offline.py",
}
SAYS = {
    "power": "users per arm",
    "chat": "page 1",
    "doctor": "torch",
    "completion": "complete",
    "--help": "gptrec sample DIR",
}


def lines_of_the_readme() -> list[list[str]]:
    """Words after `gptrec`, in their order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = "".join(re.findall(r"^```\n(.*?)^```$", text, re.S | re.M))
    found = re.findall(r"^(?:eval \"\$\()?\.venv/bin/gptrec ([^)#\n]*)", fenced, re.M)
    return [shlex.split(line) for line in found]


def test_the_commands_of_the_readme_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other in one folder, as they are typed, but for the size."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda prompt: "q")
    pages = [(name, code) for name, code in blocks("python") if code.startswith("# my_module.py")]
    code = dict(pages)["own_policy.md"]
    Path("my_module.py").write_text(code, encoding="utf-8")
    lines = lines_of_the_readme()
    assert len(lines) > 10
    for words in lines:
        if words[0] in ELSEWHERE:
            assert (ROOT / ELSEWHERE[words[0]]).is_file()
            continue
        light = LIGHT if words[0] == "run" and "--policies" not in words else []
        assert main([*words, *QUICKER.get(words[0], []), *light]) == 0, words
        assert SAYS.get(words[0], "") in capsys.readouterr().out, words
        if words[0] == "sample":
            names = {"user": "uid", "item": "iid", "time": "ts", "click": "clicked"}
            log = pd.read_csv("sample/impressions.csv")[list(names)].rename(columns=names)
            log.to_csv("events.csv", index=False)
    verdict = Path("runs/first/report.md").read_text(encoding="utf-8")
    assert re.search(r"\*\*(In this world|Inconclusive).*itemknn.* popularity", verdict)
    assert all(name in Path("runs/index.html").read_text() for name in ("first", "MyPolicy"))
    assert Path("runs/judged/report.html").is_file()
