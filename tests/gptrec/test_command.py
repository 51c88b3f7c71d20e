"""The one name of all commands, and what a command costs that is only asked for help."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from gptrec import command, doctor

HEAVY = ("torch", "pandas", "duckdb", "statsmodels", "sklearn", "matplotlib", "arviz_stats")


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_is_there_and_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: gptrec {name} ")


def test_no_command_gets_the_list_and_a_wrong_one_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main([]) == 2
    assert command.main(["--help"]) == 0
    assert "rehearse an A/B test" in capsys.readouterr().out
    assert command.main(["valdate"]) == 2
    assert "did you mean 'validate'" in capsys.readouterr().err


def test_the_status_of_a_command_is_that_of_the_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command.main(["fit", "--log", "nowhere.csv", "--out", str(tmp_path / "x")]) == 2
    assert "nowhere.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "module",
    [
        "simulator.run",
        "simulator.study",
        "simulator.fit",
        "simulator.validate",
        "simulator.sample",
        "analysis.report",
        "gptrec.evaluate",
    ],
)
def test_help_does_not_wait_for_what_work_needs(module: str) -> None:
    code = (
        f"import sys, {module} as command; command.parser()\n"
        f"print(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"simulator.sample": {"pandas"}}.get(module, set())
    assert set(ran.stdout.split()) <= allowed


def test_a_shell_is_told_every_command_and_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = "COMP_WORDS=(gptrec power --md) COMP_CWORD=2; _shtab_gptrec; echo ${COMPREPLY[@]}"
    ran = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True
    )
    assert "--mde" in ran.stdout.split()
    listed = script.split("_shtab_gptrec_subparsers=(")[1].split(")")[0]
    assert listed.split() == list(command.COMMANDS)


def test_the_doctor_finds_what_is_there_and_says_what_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main([]) == 0
    told = capsys.readouterr().out
    assert "torch" in told
    assert "cores that may be used" in told
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=2", "no-such-package>=1"])
    assert doctor.main([]) == 2
    assert "missing: no-such-package" in capsys.readouterr().out

    def unknown(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", unknown)
    assert doctor.main([]) == 2
    assert "not installed" in capsys.readouterr().err


def test_the_commands_are_modules() -> None:
    for module, _ in command.COMMANDS.values():
        assert callable(import_module(module).main)
