"""Prints the lowest version of each library that pyproject.toml admits, as pip constraints.

torch stays as constraints.txt pins it: other builds of it pull gigabytes.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"] + project["optional-dependencies"]["test"]:
        name, least = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        if name != "torch":
            print(f"{name}=={least}")
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    print(next(line for line in pinned.splitlines() if line.startswith("torch==")))


if __name__ == "__main__":
    main()
