"""Which column plays which role: as a person says, or by the names that logs usually have."""

from collections.abc import Iterable
from dataclasses import dataclass

from policies.common.errors import InputError, shown, suggestion

ROLES = (
    "user",
    "item",
    "time",
    "click",
    "rating",
    "session",
    "page",
    "slot",
    "watch",
    "long_view",
    "like",
    "hate",
    "category",
    "duration",
    "propensity",
)
# Column names of well-known logs, as `_plain` writes them.
USUAL = {
    "user": ("userid", "uid", "visitorid", "customerid", "memberid", "accountid", "reviewerid"),
    "item": (
        "itemid",
        "iid",
        "movieid",
        "videoid",
        "productid",
        "articleid",
        "newsid",
        "trackid",
        "songid",
        "bookid",
        "asin",
        "parentasin",
    ),
    "time": (
        "timestamp",
        "ts",
        "datetime",
        "eventtime",
        "createdat",
        "unixreviewtime",
        "date",
        "unixtime",
        "timems",
    ),
    "click": ("clicked", "isclick", "isclicked"),
    "rating": ("stars", "overall"),
    "bucket": ("variant", "arm", "armname", "group", "experimentgroup", "treatment"),
}
EVENT = ("event", "eventtype", "eventname", "action", "actiontype", "behavior", "behaviortype")


@dataclass(frozen=True)
class Reading:
    """What a person says about the columns of a log.

    Attributes:
        columns: `user=u,item=i,...`; None = by the usual names.
        click_threshold: a rating (or value of the click column) of at least this is a click.
        click_when: `column=word,word`: rows with one of these words are clicks, all others are not.
        time_unit: of numbers in the time column; None = found out.
        watch_unit: of watch times, `s` or `ms`; None = found out.
    """

    columns: str | None = None
    click_threshold: float | None = None
    click_when: str | None = None
    time_unit: str | None = None
    watch_unit: str | None = None


@dataclass(frozen=True)
class ClickWhen:
    """Rows of which `column` holds one of `words` are clicks."""

    column: str
    words: tuple[str, ...]

    @staticmethod
    def parse(given: str, there: Iterable[str]) -> "ClickWhen":
        column, equals, listed = given.partition("=")
        words = tuple(word.strip() for word in listed.split(",") if word.strip())
        if not equals or not words:
            raise InputError(
                f"--click-when '{shown(given)}': wanted COLUMN=WORD,WORD such as"
                " event=buy,addtocart"
            )
        names = list(there)
        if column.strip() not in names:
            raise InputError(
                f"--click-when: there is no column '{shown(column)}'{suggestion(column, names)}"
            )
        return ClickWhen(column.strip(), words)


def pairs(columns: str, roles: Iterable[str]) -> dict[str, str]:
    """`user=u,item=i` as role -> column."""
    chosen: dict[str, str] = {}
    for part in columns.split(","):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or role not in roles:
            raise InputError(
                f"--columns: '{shown(part)}' is not role=column{suggestion(role, roles)}"
            )
        if role in chosen:
            raise InputError(
                f"--columns names {role} twice: '{shown(chosen[role])}' and '{shown(name)}'"
            )
        chosen[role] = name
    return chosen


def choose(
    there: list[str], given: dict[str, str] | None, roles: Iterable[str], where: str
) -> tuple[dict[str, str], list[str]]:
    """role -> column, and a sentence where usual names were recognised.

    With `given` those columns alone: a column that nobody named plays no part, and those that
    would have had one by their names are told. Without, columns that are called like a role, else
    by one usual name of it.

    Raises:
        InputError: a column that is not there, or two that could both be meant.
    """
    if given is not None:
        for role, name in given.items():
            if name not in there:
                raise InputError(
                    f"there is no column '{shown(name)}' for {role} in {where}"
                    f"{_near(name, there)}the file has: {listing(there)}"
                )
        left = unread(there, given, roles)
        named = ", ".join(f"{role}={shown(name)}" for role, name in left.items())
        return dict(given), [f"Not read, as --columns does not name them: {named}."] if left else []
    chosen, found = {}, []
    for role in roles:
        if role in there:
            chosen[role] = role
            continue
        usual = _called(role, there)
        if len(usual) > 1:
            raise InputError(
                f"{where}: columns '{shown(usual[0])}' and '{shown(usual[1])}' could both be the"
                f" {role}; say --columns user=...,{role}={shown(usual[0])},..."
            )
        if usual:
            chosen[role] = usual[0]
            found.append(f"{role}={shown(usual[0])}")
    return chosen, [f"Columns taken by their names: {', '.join(found)}."] if found else []


def unread(there: list[str], chosen: dict[str, str], roles: Iterable[str]) -> dict[str, str]:
    """role -> column of the roles that have none, where a column that has none is called so."""
    free = [name for name in there if name not in chosen.values()]
    found = {role: _called(role, free) for role in roles if role not in chosen}
    return {role: names[0] for role, names in found.items() if names}


def _called(role: str, there: list[str]) -> list[str]:
    """The columns that are called like a role, else by a usual name of it."""
    if role in there:
        return [role]
    plain = {name: _plain(name) for name in there}
    return [n for n in there if plain[n] == role] or [
        n for n in there if plain[n] in USUAL.get(role, ())
    ]


def event_column(there: Iterable[str], used: Iterable[str]) -> str | None:
    """A column that tells by words what happened, and that nobody named."""
    left = [name for name in there if name not in set(used)]
    return next((name for name in left if _plain(name) in EVENT), None)


def listing(names: Iterable[str]) -> str:
    return shown(", ".join(shown(name, 60) for name in names), 300)


def _near(name: str, there: list[str]) -> str:
    hint = suggestion(name, there)
    return f"{hint} " if "did you mean" in hint else "; "


def _plain(name: str) -> str:
    return "".join(c for c in str(name).lower() if c.isalnum())
