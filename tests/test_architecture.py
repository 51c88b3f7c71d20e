"""The arrows between the packages, and the rules that a machine can see."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "policies": set(),
    "gptrec": {"policies"},
    "simulator": {"policies"},
    "analysis": set(),
}
COMPOSITION_ROOTS = {"simulator/run.py", "simulator/study.py", "simulator/validate.py", "gptrec/evaluate.py"}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    package = path.relative_to(ROOT).parts[0]
    allowed = MAY_IMPORT[package] | {package} | ({"analysis"} if name in COMPOSITION_ROOTS else set())
    assert imported(path) & set(MAY_IMPORT) <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_global_randomness_and_no_pickle(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    forbidden = (
        r"np\.random\.(seed|rand|randn|randint|choice|shuffle|permutation)\(|\brandom\.seed\("
        r"|torch\.manual_seed\(|import pickle|torch\.load\("
    )
    assert not re.search(forbidden, text)
    assert len(text.splitlines()) <= 420


def test_every_dependency_is_used_and_pinned() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    used = set().union(*(imported(path) for path in FILES))
    names = {"scikit-learn": "sklearn", "tea-tasting": "tea_tasting"}
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert names.get(name, name) in used, f"{name} is required and never imported"
        assert f"\n{name}==" in pins
    assert next(line for line in pins.splitlines() if line and not line.startswith("#")) == "torch==2.13.0"
