"""Settings, each described once: type, default, bounds and help stand where it is declared.

    @settings
    class Experiment:
        users: int = setting(2000, "simulated users", ge=2)

From that come the checks of whoever makes one, what a TOML file and `--set` may say (`converted`),
flags and their help (`add_flags`) and the tables of the documents (`described`). pydantic reads and
checks the values; what it refuses becomes one line that says what to do.
"""

import argparse
import dataclasses
import tomllib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticUndefined

from policies.common.errors import InputError, suggestion

C = TypeVar("C", bound=type)
_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "names with commas between",
    "dict": "names with values",
}
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def setting(default: Any, text: str, *, flag: bool = True, **bounds: float) -> Any:
    """The default, the help and the bounds of one setting.

    Args:
        flag: whether commands have a flag for it; without one it is reached by --set and TOML.
        bounds: `ge`, `gt`, `le`, `lt`.
    """
    about: dict[str, Any] = {"description": text, "json_schema_extra": {"flag": flag}, **bounds}
    if isinstance(default, dict | list):
        return Field(default_factory=default.copy, **about)
    return Field(default, **about)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def settings(kind: C) -> C:
    """A frozen dataclass of settings; wrong and unknown values raise InputError with one line.

    A method `check` of the class is called last, for what single values cannot tell.
    """
    made: Any = pydantic_dataclass(frozen=True, config=_CONFIG)(kind)
    plain = made.__init__

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        refuse_unknown(made, named)
        try:
            plain(self, *values, **{name: _whole(made, name, x) for name, x in named.items()})
        except ValidationError as error:
            raise InputError(_refusal(made, error)) from None
        if hasattr(self, "check"):
            self.check()

    made.__init__ = __init__
    return made


def _whole(kind: type, name: str, value: Any) -> Any:
    """`1e3` as 1000 where a whole number is wanted; anything else as it is."""
    annotation = field_of(kind, name).annotation
    if not isinstance(value, str) or int not in (annotation, *typing.get_args(annotation)):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else value


def names_of(kind: type) -> list[str]:
    """The settings of a class, in order."""
    return [f.name for f in dataclasses.fields(kind)]


def field_of(kind: Any, name: str) -> Any:
    """pydantic's description of a setting: annotation, default, description, metadata."""
    return kind.__pydantic_fields__[name]


def default_of(kind: type, name: str) -> Any:
    return field_of(kind, name).get_default(call_default_factory=True)


def choices_of(kind: type, name: str) -> tuple[str, ...]:
    """What a setting chooses from; () where it is free."""
    annotation = field_of(kind, name).annotation
    parts = (annotation, *typing.get_args(annotation))
    return next((typing.get_args(p) for p in parts if typing.get_origin(p) is typing.Literal), ())


def flagged(kind: type) -> list[str]:
    """The settings that commands have flags for."""
    extras = {name: field_of(kind, name).json_schema_extra or {} for name in names_of(kind)}
    return [name for name, extra in extras.items() if extra.get("flag", True)]


def flag_of(kind: type, name: str) -> str:
    """How a person writes a setting: `--slate-size`, or `slate_size` where there is no flag."""
    return f"--{name.replace('_', '-')}" if name in flagged(kind) else name


def names(value: Any) -> Any:
    """`a,b` as ("a", "b"), for settings that are lists; anything else as it is."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return parts
    for part in parts:
        if isinstance(part, type):
            name = f"{part.__module__}:{part.__qualname__}"
            if part.__module__ == "__main__" or "<locals>" in name:
                raise ValueError(
                    f"a class is named, so that other processes find it: put {part.__name__} into a"
                    f" file, my_module.py, and say 'my_module:{part.__name__}'"
                )
            raise ValueError(f"a class is named, so that other processes find it: '{name}'")
    return tuple(str(part).strip() for part in parts if str(part).strip())


def mapping(value: Any) -> Any:
    """`a=b,c=d` as a dictionary; anything else as it is."""
    if not isinstance(value, str):
        return value
    pairs = {}
    for part in (text.strip() for text in value.split(",")):
        key, equals, named = (text.strip() for text in part.partition("="))
        if part and not (equals and key and named):
            raise ValueError(f"'{part}' is not NAME=VALUE")
        if part and key in pairs:
            raise ValueError(f"'{key}' stands twice")
        if part:
            pairs[key] = named
    return pairs


def refuse_unknown(kind: type, given: Iterable[str]) -> None:
    """Raises InputError at a name that is no setting, with the nearest one that is."""
    known = names_of(kind)
    for name in given:
        if name not in known:
            raise InputError(f"unknown setting '{name}'{suggestion(name, known)}")


def bounds_of(kind: type, name: str) -> str:
    """In words: `at least 1, at most 100`."""
    bounds = []
    for limit in field_of(kind, name).metadata:
        for key, word in BOUNDS.items():
            if (value := getattr(limit, key, None)) is not None:
                bounds.append(f"{word} {value:g}")
    return ", ".join(bounds)


def _refusal(kind: type, error: ValidationError) -> str:
    """The first thing that pydantic refuses, in our words."""
    first = error.errors()[0]
    name, given = str(first["loc"][0]), first["input"]
    what, choices = flag_of(kind, name), choices_of(kind, name)
    if first["type"] == "value_error":
        return f"{what} '{given}': {first['ctx']['error']}"
    if first["type"] == "literal_error":
        return f"{what} '{given}' is unknown{suggestion(str(given), choices)}"
    if first["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        shown = f"{given:g}" if isinstance(given, float) else given
        return f"{what} must be {bounds_of(kind, name)}, not {shown}"
    wanted = next((text for word, text in _KINDS.items() if first["type"].startswith(word)), None)
    part = f" for '{first['loc'][1]}'" if len(first["loc"]) > 1 else ""
    return f"{what} wants {wanted or first['msg']}{part}, not '{given}'"


# -- from files and flags --------------------------------------------------------------------------


def read_toml(file: str | Path) -> dict[str, Any]:
    """The settings of a TOML file."""
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no file '{path}' for --config")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config '{path}' is not TOML: {error}") from None


def pairs_of(
    sets: Iterable[str], wanted: str = "key=value, such as batch_hours=6 or sasrec.width=32"
) -> list[tuple[str, str]]:
    """`key=value` texts of `--set` in parts; `wanted` is what the refusal of others says."""
    pairs = []
    for pair in sets:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set '{pair}': wanted {wanted}")
        pairs.append((key, value))
    return pairs


def add_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    kind: type,
    names: Iterable[str],
    defaults: dict[str, Any] | None = None,
) -> None:
    """A flag per setting, None where it was not given; `given_flags` collects them.

    Args:
        defaults: that a command has in place of the class's own, to be named in the help.
    """
    for name in names:
        text = field_of(kind, name).description or ""
        value = (defaults or {}).get(name, default_of(kind, name))
        value = None if value is PydanticUndefined or value in ((), {}) else value
        options: dict[str, Any] = {"default": None, "help": text.replace("%", "%%")}
        if field_of(kind, name).annotation is bool:
            options["action"] = argparse.BooleanOptionalAction
            value = "on" if value else "off"
        elif choices := choices_of(kind, name):
            options["metavar"] = "|".join(choices) if len(choices) < 4 else "NAME"
        shown = ",".join(value) if isinstance(value, tuple) else value
        if shown is not None and "(default" not in text:
            options["help"] += (
                f" (default {shown:g})" if type(shown) is float else f" (default {shown})"
            )
        parser.add_argument(f"--{name.replace('_', '-')}", **options)


def given_flags(kind: type, given: argparse.Namespace | dict[str, Any]) -> dict[str, Any]:
    """The settings among the flags of a command that were given."""
    values = given if isinstance(given, dict) else vars(given)
    return {name: values[name] for name in names_of(kind) if values.get(name) is not None}


def described(kind: type) -> list[tuple[str, str, str, str]]:
    """Rows of name, default, bounds or choices, and meaning, for documents and `--settings`."""
    rows = []
    for name in names_of(kind):
        value = default_of(kind, name)
        if value is PydanticUndefined:
            value = "required"
        elif value is None or value in ((), {}):
            value = "none"
        shown = ",".join(value) if isinstance(value, tuple) else value
        limits = bounds_of(kind, name) or ", ".join(choices_of(kind, name))
        rows.append((name, str(shown), limits, field_of(kind, name).description or ""))
    return rows
