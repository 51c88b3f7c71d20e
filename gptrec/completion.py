"""What a shell needs to complete `gptrec` with the tabulator.

eval "$(gptrec completion bash)"        in ~/.bashrc
eval "$(gptrec completion zsh)"         in ~/.zshrc, after compinit
gptrec completion tcsh > gptrec.tcsh    and source that file in ~/.tcshrc
"""

import argparse
import sys
from importlib import import_module

import shtab

from gptrec.commands import COMMANDS
from policies.common.arguments import Parser
from policies.common.terminal import guarded

SHELLS = ("bash", "zsh", "tcsh")


def parser() -> Parser:
    p = Parser(
        prog="python -m gptrec.completion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("shell", choices=SHELLS)
    return p


def every_command() -> Parser:
    """`gptrec` as one parser; where a command wants a value of its own, a file is offered."""
    whole = Parser(prog="gptrec")
    commands = whole.add_subparsers()
    for name, (module, about) in COMMANDS.items():
        its = parser() if module == __name__ else import_module(module).parser()
        one = commands.add_parser(name, help=about, parents=[its], add_help=False)
        for action in one._actions:
            if action.choices is None and action.nargs != 0:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return whole


def main(arguments: list[str] | None = None) -> int:
    """Prints the script; returns the exit status."""
    shell = parser().parse_args(arguments).shell
    return guarded(
        lambda: print(shtab.complete(every_command(), shell)),
        interrupted="start again",
        full="make room and start again",
    )


if __name__ == "__main__":
    sys.exit(main())
