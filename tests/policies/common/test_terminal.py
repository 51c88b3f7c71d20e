"""Whatever the terminal can show, and whatever goes wrong: one line and an exit status."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.common.errors import InputError, escaped, shown
from policies.common.terminal import guarded


def status_of(work: Callable[[], None]) -> int:
    return guarded(work, interrupted="go on", full="make room")


def _raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (InputError("two\nlines"), 2, "error: two\\nlines"),
        (PermissionError(13, "Permission denied", "/x"), 2, "error: /x: Permission denied"),
        (OSError(28, "No space left", "/x"), 2, "error: the disk is full (/x); make room"),
        (OSError("odd"), 2, "error: while writing: odd"),
        (MemoryError(), 2, "error: there is not enough memory"),
        (UnicodeEncodeError("ascii", "\u2605", 0, 1, "no"), 2, "in its encoding"),
        (KeyboardInterrupt(), 130, "interrupted; go on"),
    ],
)
def test_whatever_goes_wrong_is_one_line(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(_raising(error)) == status
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_long_message_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(_raising(InputError("x" * 100_000))) == 2
    assert len(capsys.readouterr().err) < 1000


def test_an_ascii_terminal_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """The star of the primary metric once ended a finished run."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert status_of(lambda: print("clicks \u2605 \u2013 1\u2009000 \u00fc")) == 0
    assert raw.getvalue() == b"clicks * - 1 000 \\xfc\n"


def test_a_full_disk_behind_the_output_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    before = sys.stdout
    with open("/dev/full", "w") as full:
        sys.stdout = full
        try:
            assert status_of(lambda: print("x")) == 2
        finally:
            sys.stdout = before
    assert "the disk is full" in capsys.readouterr().err


def test_what_shows_nothing_is_escaped_and_the_rest_stays() -> None:
    assert escaped("a\tb\x1b[0m\u202e\ud800") == "a\\tb\\x1b[0m\\u202e\\ud800"
    assert escaped("\u00e4 \u2605 \u2009 \U0001f600") == "\u00e4 \u2605 \u2009 \U0001f600"
    assert shown("x" * 500, 10) == "x" * 9 + "\u2026"
