"""The command `gptrec`: every command of the toolkit under one name. `gptrec run --help` is
`python -m simulator.run --help`.
"""

import sys
from importlib import import_module

from gptrec.commands import COMMANDS
from policies.common.arguments import TYPED
from policies.common.errors import suggestion
from policies.common.siblings import check


def usage() -> str:
    lines = [f"  {name:<12}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gptrec COMMAND ...",
            "",
            "A rehearsal stage for recommender A/B tests.",
            "",
            *lines,
            "",
            "gptrec COMMAND --help says more. First: gptrec sample DIR",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: that of the command; 2 where there is no such command."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(
            f"error: there is no command '{words[0]}'{suggestion(words[0], COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    check()
    typed = TYPED.set(f"gptrec {words[0]}")
    try:
        status: int = import_module(COMMANDS[words[0]][0]).main(words[1:])
    finally:
        TYPED.reset(typed)
    return status


if __name__ == "__main__":
    sys.exit(main())
