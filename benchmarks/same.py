"""Do two trees of this project compute the same? Compares what `benchmarks/same_runs.py` left.

    python benchmarks/same_runs.py OLD_TREE /tmp/old
    python benchmarks/same_runs.py NEW_TREE /tmp/new
    python benchmarks/same.py /tmp/old /tmp/new

Parquet rows in canonical order and arrays must agree bit for bit, every number of a JSON file by
its path. Numbers that agree to 1e-9 but not to the last bit are counted. Sentences are exempt, and
so is what differs from one hour to the next: seconds, memory, versions, commands.
"""

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

CANONICAL = ["time", "user", "page", "slot"]
TOLERANCE = 1e-9  # relative, of what is computed from rows; rows themselves have none
PASSING = re.compile(
    r"curves?(\.\d+)+\.0$|seconds|peak|memory|versions|command|users_per_second|\.curve|started|threads|created|format$|"
    r"manifest\.parts|manifest\.software|about\.checksum"
)
# Path in the old tree -> path in the new one, as regular expressions on dotted paths.
RENAMED: dict[str, str] = {}
# Paths that the new tree has and the old one had not, or the other way round, and why.
ADDED: dict[str, str] = {
    r"effects\.rows\.\d+\.error$": "the standard error, stored where it is computed",
    r"effects\.rows\.\d+\.higher_is_better$": "of the metric",
    r"(^|\.)experiment\.(draws|thin)$": "the sampler's settings are settings of an experiment",
    r"^monitor\.\d+\.(planned|lift|low|high|pvalue)$": "null where there was too little to look at",
    r"^off_policy\.rows\.\d+\.(ips|snips|dm|dr)\.standard_error$": "of each estimate",
}
REMOVED: dict[str, str] = {}
# Paths whose numbers may differ by so much, relative, and why.
CHANGED: dict[str, tuple[float, str]] = {
    r"^(rows\.\d+\.error|contenders\.\d+\.(users_few|low|high))$": (
        1e-3,
        "summary.json: standard errors were recovered with 1.96 in place of the normal quantile",
    ),
}


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, number, flag or None) of everything in a JSON value but its sentences."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from numbers(part, f"{path}.{i}")
    elif value is None or isinstance(value, bool | int | float):
        yield path, value


def same_number(one: Any, other: Any, tolerance: float = TOLERANCE) -> tuple[bool, bool]:
    """Whether two numbers agree, and whether they do so bit for bit."""
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other, one is other
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True, True
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-15), False


def compare_json(one: Path, other: Path) -> tuple[list[str], int, int, int]:
    """What differs, how many numbers were compared, how many of them differ in their last bits, and
    how many by more, as `CHANGED` allows.
    """
    values = []
    for path in (one, other):
        values.append(dict(numbers(json.loads(path.read_text(encoding="utf-8")))))
    old, new = ({p: v for p, v in part.items() if not PASSING.search(p)} for part in values)
    for pattern, target in RENAMED.items():
        old = {re.sub(pattern, target, p): v for p, v in old.items()}
    differs, rounded, meant = [], 0, 0
    for path in sorted(old.keys() | new.keys()):
        if path not in old:
            if not any(re.search(pattern, path) for pattern in ADDED):
                differs.append(f"{path}: only in the new one ({new[path]})")
        elif path not in new:
            if not any(re.search(pattern, path) for pattern in REMOVED):
                differs.append(f"{path}: only in the old one ({old[path]})")
        else:
            allowed = [t for pattern, (t, _) in CHANGED.items() if re.search(pattern, path)]
            agree, exactly = same_number(old[path], new[path], *allowed[:1])
            close = same_number(old[path], new[path])[0]
            rounded += close and not exactly
            meant += agree and not close
            if not agree:
                differs.append(f"{path}: {old[path]} and {new[path]}")
    return differs, len(old), rounded, meant


def table_of(folder: Path) -> pd.DataFrame:
    """All Parquet rows below a folder, in canonical order, whatever the parts are called."""
    parts = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
    table = pd.concat(parts, ignore_index=True)
    keys = [name for name in CANONICAL if name in table] or sorted(table.columns)[:1]
    return table.sort_values(keys, kind="stable", ignore_index=True)


def compare_tables(one: Path, other: Path) -> list[str]:
    """What differs between the rows of two folders of parts."""
    old, new = table_of(one), table_of(other)
    if sorted(old.columns) != sorted(new.columns):
        return [f"columns {sorted(old.columns)} and {sorted(new.columns)}"]
    if len(old) != len(new):
        return [f"{len(old)} and {len(new)} rows"]
    return [f"column {name}" for name in old if not old[name].equals(new[name])]


def compare_arrays(one: Path, other: Path) -> list[str]:
    """What differs between two files of arrays."""
    old, new = load_file(one), load_file(other)
    if old.keys() != new.keys():
        return [f"arrays {sorted(old.keys() ^ new.keys())}"]
    return [
        name
        for name in old
        if not np.array_equal(old[name], new[name], equal_nan=_floats(old[name]))
    ]


def _floats(x: np.ndarray) -> bool:
    return bool(x.dtype.kind == "f")


def compare_text(one: Path, other: Path) -> list[str]:
    """The numbers of two printed outputs, in their order."""
    old, new = (re.findall(r"\d*\.?\d+", path.read_text(encoding="utf-8")) for path in (one, other))
    return [] if old == new else [f"numbers differ: {old[:8]}... and {new[:8]}..."]


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 identical, 1 not, 2 bad input."""
    if len(arguments) != 2 or not all(Path(word).is_dir() for word in arguments):
        print(
            "error: wanted two folders that benchmarks/same_runs.py made: OLD NEW", file=sys.stderr
        )
        return 2
    old, new = (Path(word) for word in arguments)
    wanted = {path.relative_to(old) for path in old.rglob("*") if _compared(path)}
    there = {path.relative_to(new) for path in new.rglob("*") if _compared(path)}
    wrong = [f"{path}: only in one of them" for path in sorted(wanted ^ there)]
    counts = {"rows of folders": 0, "arrays": 0, "JSON files": 0, "printed": 0}
    total = rounded = meant = 0
    for path in sorted(wanted & there):
        if path.suffix == ".json":
            differs, n, off, allowed = compare_json(old / path, new / path)
            total, rounded, meant = total + n, rounded + off, meant + allowed
            counts["JSON files"] += 1
        elif path.suffix == ".safetensors":
            differs = compare_arrays(old / path, new / path)
            counts["arrays"] += 1
        elif path.suffix == ".out":
            differs = compare_text(old / path, new / path)
            counts["printed"] += 1
        else:
            differs = compare_tables(old / path, new / path)
            counts["rows of folders"] += 1
        wrong += [f"{path}: {text}" for text in differs[:5]]
        wrong += [f"{path}: and {len(differs) - 5} more"] if len(differs) > 5 else []
    for line in wrong:
        print(line)
    print(", ".join(f"{n} {name}" for name, n in counts.items()) + f", {total} numbers")
    print("identical" if not wrong else f"{len(wrong)} DIFFERENCES", end="")
    print(
        f", {rounded} numbers to {TOLERANCE:g} and not to the last bit" if rounded else "", end=""
    )
    print(f", but for {meant} numbers that differ by more, as CHANGED says" if meant else "")
    return 1 if wrong else 0


def _compared(path: Path) -> bool:
    """Files of numbers, and folders of Parquet parts in place of the parts."""
    if path.is_dir():
        return any(path.glob("*.parquet"))
    if path.name in ("settings.json", "evaluation.json", "steps.json"):
        return False
    return path.suffix in (".json", ".safetensors", ".out") and "checkpoint" not in path.parts[-2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
