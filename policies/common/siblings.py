"""`analysis`, `policies` and `simulator` are words that a project of one's own has, too.

A package of another project that stands before ours on the path would be imported in its place.
The packages of the commands call `check` when they are run with `python -m`.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("policies", "gptrec", "simulator", "analysis")


def shadowed() -> str | None:
    """One line about the first of our packages that another one stands before; None if none is."""
    home = Path(__file__).resolve().parents[2]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        location = Path(places[0]).resolve() if places else None
        if location != home / name:
            where = f"in '{location.parent}' " if location is not None else ""
            return (
                f"another '{name}' {where}stands before that of this toolkit in '{home}'; rename"
                " it, or run the command from another folder"
            )
    return None


def check() -> None:
    """Ends the command with status 2 where one of our packages is shadowed."""
    if (line := shadowed()) is not None:
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2)
