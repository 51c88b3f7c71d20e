"""The rooms of the house and the arrows between them, and the rules that a machine can see."""

import ast
import importlib
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("policies", "gptrec", "simulator", "analysis")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_FILES = 17  # in one folder

# Room -> the rooms that it may import, besides itself. A room is a folder, a base file on top, or
# the commands of a package together. What is not named here has no room, and the test says so.
BASE = {
    "policies/common",
    "policies/catalogue",
    "policies/draws",
    "policies/loops",
    "policies/log",
    "policies/base",
}
ANSWERS = BASE | {"policies/answers"}
POLICIES = BASE | {
    "policies/exploring",
    "policies/ranking",
    "policies/registry",
    "policies/testing",
    "policies/calls",
    "policies/sources",
}
NEURAL = ANSWERS | {"policies/ranking", "policies/exploring", "policies/neural"}
USERS = POLICIES | {
    "policies/baselines",
    "simulator/users",
    "simulator/settings",
    "simulator/buckets",
}
ENGINE = USERS | {"simulator/engine"}
FITTING = ENGINE | {"simulator/fitting", "simulator/chains"}
ANALYSIS = (
    "errors",
    "metrics",
    "statistics",
    "frames",
    "data",
    "results",
    "reporting",
    "studies",
    "loops",
    "gallery",
    "commands",
)
MAY_IMPORT: dict[str, set[str]] = {
    "policies/common": set(),
    "policies/catalogue": {"policies/common"},
    "policies/draws": set(),
    "policies/loops": {"policies/common", "policies/draws"},
    "policies/log": {"policies/common", "policies/catalogue"},
    "policies/base": BASE,
    "policies/ranking": BASE,
    "policies/sources": BASE - {"policies/base", "policies/loops"},
    "policies/answers": BASE,
    "policies/exploring": BASE | {"policies/ranking"},
    "policies/neural": ANSWERS | {"policies/ranking", "policies/calls"},
    "policies/baselines": NEURAL,
    "policies/registry": BASE | {"policies/calls", "policies/exploring"},
    "policies/testing": BASE,
    "policies/calls": BASE | {"policies/testing"},
    "gptrec/model": NEURAL,
    "gptrec/prompts": NEURAL | {"gptrec/model"},
    "gptrec/interests": NEURAL | {"gptrec/model"},
    "gptrec/policy": NEURAL | {"gptrec/model", "gptrec/prompts", "gptrec/interests"},
    "gptrec/offline": POLICIES | NEURAL | {f"analysis/{room}" for room in ANALYSIS[:-1]},
    "gptrec/commands": set(),
    "gptrec/command": {"policies/common", "gptrec/commands"},
    "gptrec/completion": {"policies/common", "gptrec/commands"},
    "gptrec/doctor": {"policies/common"},
    "gptrec/evaluate": POLICIES | NEURAL | {"gptrec/offline"},
    "simulator/users": BASE | {"policies/calls", "policies/testing"},
    "simulator/buckets": {"policies/common", "policies/draws"},
    "simulator/settings": POLICIES | {"simulator/buckets", "simulator/users"},
    "simulator/engine": USERS,
    "simulator/chains": {"policies/common"},
    "simulator/built_in": ENGINE | {"simulator/fitting"},
    "simulator/talking": ENGINE | {"simulator/experiment"},
    "simulator/gym": ENGINE | {"simulator/built_in"},
    "simulator/fitting": ENGINE | {"simulator/chains"},
    "simulator/doubt": FITTING,
    "simulator/validation": (
        FITTING | {"policies/neural"} | {f"analysis/{room}" for room in ANALYSIS[:-1]}
    ),
    "simulator/population": FITTING,
    "simulator/experiment": FITTING
    | {"policies/answers", "policies/neural", "simulator/doubt", "simulator/population"}
    | {"simulator/built_in"}
    | {f"analysis/{room}" for room in ANALYSIS[:-1]},
    "simulator/loop": (
        FITTING
        | {"simulator/experiment", "simulator/population"}
        | {f"analysis/{room}" for room in ANALYSIS[:-1]}
    ),
    "simulator/commands": (
        FITTING
        | {"simulator/validation", "simulator/experiment", "simulator/population"}
        | {"simulator/loop", "simulator/built_in", "simulator/talking"}
        | {f"analysis/{room}" for room in ANALYSIS}
    ),
    **{
        f"analysis/{room}": (
            {f"analysis/{below}" for below in ANALYSIS[:i]}
            | {"policies/common", "policies/sources"}
        )
        for i, room in enumerate(ANALYSIS)
    },
}
COMMANDS = {
    "simulator": "run fit validate validating study sample chat commands",
    "analysis": "report power ope export",
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {name_of(path): path for path in FILES}


def room_of(module: str) -> str | None:
    """The room of a module; None of the lazy `__init__` files."""
    parts = module.split(".")
    if parts[-1] == "__init__":
        return None
    if parts[1] in COMMANDS.get(parts[0], "").split():
        return f"{parts[0]}/commands"
    return f"{parts[0]}/{parts[1]}"


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {node.module}
    return frozenset(found)


def own_imports(path: Path) -> set[str]:
    """Those of the four packages that are modules with a room."""
    return {name for name in imported(path) if name in MODULES and room_of(name) is not None}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_follow_the_arrows(path: Path) -> None:
    room = room_of(name_of(path))
    if room is None:
        return
    assert room in MAY_IMPORT, f"{room} is no room of the house; see CONTRIBUTING.md"
    for module in own_imports(path):
        other = room_of(module)
        assert other == room or other in MAY_IMPORT[room], (
            f"{room} may not import {other} ({module})"
        )


def test_no_circle_among_files() -> None:
    graph = {name: own_imports(path) for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_folder_is_crowded() -> None:
    folders = [path.parent for path in FILES]
    crowded = {
        folder.name: n for folder in set(folders) if (n := folders.count(folder)) > MOST_FILES
    }
    assert not crowded


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_global_randomness_and_no_pickle(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "calls.py":  # seeds them for strangers' training, and puts them back
        text = text.split("def _seed")[0] + text.split("# -- the calls")[1]
    forbidden = (
        r"np\.random\.(seed|rand|randn|randint|choice|shuffle|permutation)\(|\brandom\.seed\("
        r"|torch\.manual_seed\(|import pickle|torch\.load\("
    )
    assert not re.search(forbidden, text)


@pytest.mark.parametrize(
    "module",
    ["policies.base", "policies.log", "policies.ranking", "policies.testing", "policies.draws"],
)
def test_what_policies_of_others_import_stays_where_it_is(module: str) -> None:
    assert importlib.import_module(module)


def test_every_dependency_is_used_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    used = {name.split(".")[0] for path in FILES for name in imported(path)}
    names = {
        "scikit-learn": "sklearn",
        "tea-tasting": "tea_tasting",
        "arviz-stats": "arviz_stats",
    }
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert names.get(name, name) in used, f"{name} is required and never imported"
        assert f"\n{name}==" in pins
    assert (
        next(line for line in pins.splitlines() if line and not line.startswith("#"))
        == "torch==2.13.0"
    )
