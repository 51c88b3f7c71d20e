"""One description of each setting: bounds, "did you mean", TOML, flags and documents from it."""

import argparse
import runpy
from pathlib import Path
from typing import Any

import pytest

from analysis.data.live_source import LiveLog
from policies.common.errors import InputError
from policies.common.settings import (
    add_flags,
    described,
    flagged,
    given_flags,
    names_of,
    pairs_of,
    read_toml,
    setting,
    settings,
)
from simulator.settings import Experiment

ROOT = Path(__file__).parents[3]


@settings
class Oven:
    """An example."""

    degrees: int = setting(180, "how hot", ge=50, lt=300)
    share: float = setting(0.5, "of the hour", gt=0, le=1)
    fan: bool = setting(True, "moves the air")


def test_values_out_of_bounds_are_refused_with_the_bounds() -> None:
    with pytest.raises(InputError, match="at least 50, below 300, not 300"):
        Oven(degrees=300)
    with pytest.raises(InputError, match="above 0, at most 1"):
        Oven(share=0.0)
    assert Oven(degrees=50, share=1.0).degrees == 50


def test_values_that_are_not_numbers_are_refused() -> None:
    wrong: Any
    for wrong in ("hot", float("nan"), float("inf"), 12.5):
        with pytest.raises(InputError, match=r"--degrees"):
            Oven(degrees=wrong)


def test_whole_numbers_may_be_written_in_any_way() -> None:
    assert Oven(**dict[str, Any](degrees="1e2")).degrees == 100
    assert Experiment(**dict[str, Any](users="2e3")).users == 2000
    with pytest.raises(InputError, match="a whole number"):
        Oven(**dict[str, Any](degrees="100.5"))


def test_names_with_values_may_have_blanks_and_a_wrong_value_is_named() -> None:
    assert LiveLog(Path("x.csv"), **dict[str, Any](columns="user = u, bucket=b")).columns == {
        "user": "u",
        "bucket": "b",
    }
    with pytest.raises(InputError, match="--weights wants a number for 'A', not 'x'"):
        LiveLog(Path("x.csv"), **dict[str, Any](weights="A=x,B=1"))


def test_no_document_shows_how_defaults_are_stored() -> None:
    for kind in (Experiment, LiveLog):
        assert "Undefined" not in str(described(kind))
        parser = argparse.ArgumentParser()
        add_flags(parser, kind, flagged(kind))
        assert "Undefined" not in parser.format_help()
        assert "(default )" not in parser.format_help()


def test_an_unknown_name_is_refused_and_the_nearest_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown setting 'degree'.*degrees"):
        Oven(**dict[str, Any](degree=3))
    with pytest.raises(InputError, match=r"unknown setting 'slate_siz'.*slate_size"):
        Experiment(**dict[str, Any](slate_siz=3))


def test_flags_give_what_was_given_and_nothing_else() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Oven, flagged(Oven))
    given = parser.parse_args(["--degrees", "200"])
    assert given_flags(Oven, given) == {"degrees": "200"}
    assert Oven(**given_flags(Oven, given)).degrees == 200


def test_every_flag_has_its_help() -> None:
    parser = argparse.ArgumentParser(prog="x")
    add_flags(parser, Experiment, flagged(Experiment))
    for action in parser._actions:
        assert action.help, action.option_strings
    assert set(flagged(Experiment)) <= set(names_of(Experiment))


def test_pairs_and_toml(tmp_path: Path) -> None:
    assert pairs_of(["days=3", "sasrec.width=64"]) == [("days", "3"), ("sasrec.width", "64")]
    with pytest.raises(InputError, match="days"):
        pairs_of(["days"])
    file = tmp_path / "x.toml"
    file.write_text("days = 3\n[policy.sasrec]\nwidth = 64\n")
    assert read_toml(file)["policy"] == {"sasrec": {"width": 64}}
    file.write_text("days = = 3\n")
    with pytest.raises(InputError, match=r"x\.toml"):
        read_toml(file)


def test_every_setting_is_described() -> None:
    rows = described(Experiment)
    assert [row[0] for row in rows] == names_of(Experiment)
    assert all(row[3] for row in rows)


def test_the_document_of_the_settings_is_current() -> None:
    """Written by `python docs/settings.py`."""
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(ROOT / "docs" / "settings.py"))["document"]()
