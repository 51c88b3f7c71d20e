"""What is installed, how many threads there are, and which device: for whoever asks why something
is slow or missing.

python -m gptrec.doctor
"""

import argparse
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from policies.common.arguments import Parser
from policies.common.errors import InputError
from policies.common.executor import cores
from policies.common.terminal import guarded

EXTRAS = {
    "ray": "runs on a cluster (--engine ray)",
    "recall": "an index that recalls candidates among very many items",
    "ranker": "the policy 'ranker'",
    "gym": "users as environments of Gymnasium",
}


def parser() -> argparse.ArgumentParser:
    return Parser(
        prog="python -m gptrec.doctor", description="What is installed, threads and device."
    )


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 all there, 2 something that every run needs is missing."""
    parser().parse_args(arguments)
    missing: list[str] = []

    def work() -> None:
        found, missing[:] = packages()
        show(("what", "version", "wanted", "for"), found)
        print()
        show(("machine", ""), machine())
        if missing:
            print(f"missing: {', '.join(missing)}; make test installs all that is needed")

    return guarded(work, interrupted="nothing was written", full="") or (2 if missing else 0)


def show(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table by the standard library alone: the rest may be missing."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def packages() -> tuple[list[tuple[str, ...]], list[str]]:
    """Rows of what the toolkit requires, and the names of what is required and not there.

    Raises:
        InputError: the toolkit itself is not installed.
    """
    rows: list[tuple[str, ...]] = []
    missing = []
    try:
        required = requires("gptrec") or []
    except PackageNotFoundError:
        raise InputError("gptrec itself is not installed; make test does that") from None
    for requirement in required:
        name = re.split(r"[<>=!~;\[ ]", requirement)[0]
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if extra is not None and extra.group(1) not in EXTRAS:
            continue
        try:
            there = version(name)
        except PackageNotFoundError:
            there = "not installed"
            if extra is None:
                missing.append(name)
        wanted = requirement.partition(";")[0].removeprefix(name).strip()
        rows.append((name, there, wanted, EXTRAS[extra.group(1)] if extra else "everything"))
    return rows, missing


def machine() -> list[tuple[str, ...]]:
    """Rows of names and values."""
    rows: list[tuple[str, ...]] = [
        ("Python", platform.python_version()),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("cores that may be used", str(cores())),
    ]
    try:
        import torch  # late: what is missing is to be said, not raised
    except ImportError:
        return rows
    cuda = torch.cuda.is_available()
    rows.append(("torch threads", str(torch.get_num_threads())))
    rows.append(("device", torch.cuda.get_device_name(0) if cuda else "CPU (no CUDA device)"))
    return rows


if __name__ == "__main__":
    sys.exit(main())
