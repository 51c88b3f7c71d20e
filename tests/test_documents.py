"""What the documents tell people to type: commands are read by the commands' own parsers, and
Python is run. Longer runs are parsed alone.
"""

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from gptrec.command import COMMANDS, main
from policies.testing import check_policy
from simulator import Experiment
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
    """Every command line of the blocks, as words."""
    lines = []
    for _, block in blocks(""):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith((".venv/bin/python ", ".venv/bin/gptrec ")):
                lines.append(shlex.split(line, comments=True))
    return lines


def inline() -> list[list[str]]:
    """Every command line between backticks in the text."""
    lines = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"`(\.venv/bin/(?:python|gptrec)) ([^`]+)`", text):
            lines.append([match[1], *shlex.split(match[2].replace("\n", " "))])
    return lines


EVERY = [*commands(), *inline()]


def test_there_is_something_to_check() -> None:
    assert len(commands()) > 20
    assert len(blocks("python")) >= 4


@pytest.mark.parametrize("words", EVERY, ids=[" ".join(words[1:])[:70] for words in EVERY])
def test_a_command_of_the_documents_is_understood(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0].endswith("gptrec"):
        if words[1] == "--help":
            return
        words = [words[0], "-m", COMMANDS[words[1]][0], *words[2:]]
    if words[1] == "-c":
        compile(words[2], "document", "exec")
    elif words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()
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


def test_the_first_commands_of_the_readme_end_in_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = ("sample sample", "run --log sample/impressions.csv --policies itemknn")
    lines = [" ".join(words[1:]) for words in commands()]
    # what takes most of the time is tested elsewhere
    quicker = ["--quiet", "--no-sensitivity", "--draws", "20", "--users", "500"]
    for begin in (*wanted, "report --impressions sample/ab.csv", "power --run runs/first"):
        line = next(line for line in lines if line.startswith(begin))
        assert main([*line.split(), *(quicker if line.startswith("run") else [])]) == 0
    verdict = (tmp_path / "runs" / "first" / "report.md").read_text(encoding="utf-8")
    assert re.search(r"\*\*(In this world|Inconclusive).*itemknn.* popularity", verdict)
