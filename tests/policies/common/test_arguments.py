"""Flags that are wrong are refused in one line."""

import pytest

from policies.common.arguments import Parser


def parser() -> Parser:
    p = Parser(prog="tool")
    kinds = p.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("one")
    one.add_argument("--seeds", type=int)
    one.add_argument("--policies")
    kinds.add_parser("two").add_argument("--runs")
    return p


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("one --sedes=3", "there is no flag --sedes; did you mean '--seeds'?; see tool one --help"),
        ("two --seeds 3", "there is no flag --seeds; there are: --help, --runs"),
        ("one --policies a, b", "nothing wants 'b'; lists have commas and no spaces"),
        ("one --seeds three", "invalid int value: 'three'"),
        ("three", "invalid choice: 'three'"),
        ("one --seeds", "expected one argument"),
        ("one --\x1bseed", "there is no flag --\\x1bseed"),
    ],
)
def test_a_wrong_flag_is_one_line(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(words.split(" "))
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1


def test_what_is_right_is_read() -> None:
    assert parser().parse_args(["one", "--seeds", "3"]).seeds == 3
