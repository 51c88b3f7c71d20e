"""Another project's `analysis` or `policies` is never used in place of ours without a word."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["analysis", "policies"])
def test_a_command_says_which_package_is_shadowed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    ran = subprocess.run(
        [sys.executable, "-m", "simulator.run", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    lines = ran.stderr.strip().splitlines()
    assert len(lines) == 1, ran.stderr
    assert f"'{name}'" in lines[0]
    assert "rename" in lines[0]
