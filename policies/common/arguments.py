"""A parser of flags that refuses in one line, and says what was probably meant."""

import argparse
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, NoReturn

from policies.common.errors import shown, suggestion

TYPED: ContextVar[str | None] = ContextVar("typed", default=None)  # in place of python -m MODULE


class Parser(argparse.ArgumentParser):
    """As argparse has it, but for how it refuses: without the usage, which is pages long here."""

    def __init__(self, prog: str | None = None, **options: Any):
        typed = TYPED.get()
        if typed is not None and prog is not None and prog.startswith("python -m "):
            prog = typed
        super().__init__(prog=prog, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Whatever is left over is refused here, by the parser whose flags come into question."""
        given, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(self._why_not(rest[0]))
        return given, rest

    def error(self, message: str) -> NoReturn:
        """One line; exit status 2."""
        self.exit(2, f"error: {shown(message, 500)}; see {self.prog} --help\n")

    def _why_not(self, word: str) -> str:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            known = [flag for flag in self._option_string_actions if flag.startswith("--")]
            return f"there is no flag {flag}{suggestion(flag, known)}"
        return f"nothing wants '{word}'; lists have commas and no spaces, such as a,b"
