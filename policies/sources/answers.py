"""What users answered, from the columns of a log: clicks, watch times, likes, propensities."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from policies.common.errors import InputError, shown
from policies.sources.columns import Columns
from policies.sources.roles import ClickWhen
from policies.sources.times import Times
from policies.sources.values import MISSING
from policies.sources.visits import SESSION_GAP_S, blocks_of

ENOUGH = 3  # watch times from which a unit is looked for
FEW = 5  # pages with a next one
# times what there was time for: milliseconds are a thousand times too long
TOO_LONG, MOST_PLAUSIBLE = 50.0, 3.0
CLEARLY = 10.0  # times the duration of an item, which nobody watches so often
LEAST_WATCHED = 0.002  # of an item's duration
LONGEST_MEDIAN = 7200.0  # s, of durations: films
LONGEST_SKIP = 120.0  # s, of watch times where skips have some, too
UNITS = {"s": "seconds", "ms": "milliseconds, converted to seconds"}
SAY = "say --watch-unit s or --watch-unit ms"


@dataclass(frozen=True)
class Answers:
    """Columns of impressions beyond the click, what the log tells by them, and sentences on how
    they were read. `duration`: (n,) seconds, None where the log has none.
    """

    columns: dict[str, np.ndarray]
    has: tuple[str, ...]
    notes: list[str]
    duration: np.ndarray | None


def answers_of(
    columns: Columns, users: np.ndarray, times: Times, unit: str | None = None
) -> Answers:
    """Watch times, long views, likes, hates and propensities.

    Args:
        unit: of the watch times; None = found out.
    """
    parts: dict[str, np.ndarray] = {}
    has: list[str] = []
    notes: list[str] = []
    for role, name, flag in (
        ("long_view", "long_view", "long_view"),
        ("like", "liked", "likes"),
        ("hate", "hated", "hates"),
    ):
        if role in columns:
            values = columns.numbers(role)
            odd = ~np.isin(values, (0, 1))
            if odd.any():
                row = int(np.argmax(odd))
                raise InputError(
                    f"{columns.place(role)(row)}: {values[row]:g} for {role}; wanted 0 and 1"
                )
            parts[name] = values > 0
            has.append(flag)
    duration = columns.numbers("duration") if "duration" in columns else None
    if "watch" in columns:
        watched = columns.numbers("watch")
        if (watched < 0).any():
            row = int(np.argmax(watched < 0))
            raise InputError(
                f"{columns.place('watch')(row)}: {int((watched < 0).sum())} watch times are below"
                f" 0, such as {watched[row]:g}"
            )
        watched, duration, notes = in_seconds(watched, duration, users, times, unit)
        parts["watched"] = watched.astype(np.float32)
        has.append("watch")
    elif duration is not None:
        duration, notes = _lone_durations(duration)
    if "propensity" in columns:
        parts["propensity"] = _propensities(columns)
    return Answers(parts, tuple(has), notes, duration)


def in_seconds(
    watched: np.ndarray,
    duration: np.ndarray | None,
    users: np.ndarray,
    times: Times,
    unit: str | None = None,
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Watch times and durations in seconds, and sentences on the units that were taken.

    The unit follows from the time that there was (who watched 500 of an item was not served the
    next page 4 seconds later, if 500 are seconds), and row by row from the durations.

    Args:
        unit: of the watch times, `s` or `ms`; None = found out.

    Raises:
        InputError: what the log tells has two readings.
    """
    found = watch_unit(watched, duration, users, times, unit)
    if found is None:
        return watched, duration, []
    unit, note = found
    notes = [note]
    if unit == "ms":
        watched = watched / 1000
    ratio = _over_durations(watched, duration)
    # of a film of two hours somebody may watch the first seconds; nothing lasts longer
    other = duration is not None and (unit == "ms" or np.median(duration) > LONGEST_MEDIAN)
    if duration is not None and ratio is not None and ratio < LEAST_WATCHED and other:
        duration = duration / 1000
        notes.append("Durations are taken as milliseconds: they are a thousand times too long.")
    return watched, duration, notes


def watch_unit(
    watched: np.ndarray,
    duration: np.ndarray | None,
    users: np.ndarray,
    times: Times,
    given: str | None = None,
) -> tuple[str, str] | None:
    """The unit of watch times, `s` or `ms`, and a sentence that says so; None where there are too
    few to tell. See `in_seconds`.
    """
    some = watched[watched > 0]
    if len(some) < ENOUGH:
        return None
    unit, why = given, "as --watch-unit says"
    if unit is None:
        room = None if times.coarse else _over_time_there_was(watched, users, times.time)
        unit, why = _unit_of(some, duration, room, _over_durations(watched, duration))
    return unit, f"Watch times are taken as {UNITS[unit]} (median {np.median(some):.3g}): {why}."


def _unit_of(
    some: np.ndarray, duration: np.ndarray | None, room: float | None, ratio: float | None
) -> tuple[str, str]:
    """`s` or `ms`, and why.

    Args:
        some: watch times above 0. room: see `_over_time_there_was`. ratio: see `_over_durations`.
    """
    median = f"watch times with a median of {np.median(some):.3g}"
    if room is not None:
        shown = f"{room:.3g} times the time to the user's next page"
        if room > TOO_LONG:
            return "ms", f"as seconds they would be {shown}"
        if room > MOST_PLAUSIBLE:
            raise InputError(f"{median} are {shown}; {SAY}")
        return "s", f"{shown} (median)"
    if ratio is not None:
        shown = f"{ratio:.3g} times the duration of their item"
        if ratio > CLEARLY:
            return "ms", f"as seconds they would be {shown}"
        longest = 0.0 if duration is None else float(np.median(duration))
        if ratio > MOST_PLAUSIBLE:
            raise InputError(f"{median} are {shown}; {SAY}")
        if longest > LONGEST_MEDIAN:
            durations = f"durations with a median of {longest:.3g}"
            raise InputError(f"{median} and {durations} may be milliseconds; {SAY}")
        return "s", f"{shown} (median)"
    if np.median(some) > LONGEST_SKIP:
        raise InputError(f"{median} may be milliseconds, and the log does not tell; {SAY}")
    return "s", "nothing in the log contradicts"


def _over_durations(watched: np.ndarray, duration: np.ndarray | None) -> float | None:
    """The median of watch time over duration, row by row."""
    if duration is None:
        return None
    both = (watched > 0) & (duration > 0)
    return float(np.median(watched[both] / duration[both])) if both.any() else None


def _over_time_there_was(watched: np.ndarray, users: np.ndarray, time: np.ndarray) -> float | None:
    """Of pages with a next one in the same session: the median of what was watched of the page over
    the time to the next; None where there are hardly any.
    """
    ratios = []
    for rows in blocks_of(users):
        pages = (
            pd.DataFrame({"user": users[rows], "time": time[rows], "watched": watched[rows]})
            .groupby(["user", "time"], sort=True)["watched"]
            .sum()
            .reset_index()
        )
        gap = pages.groupby("user")["time"].diff(-1).abs().to_numpy()
        total = pages["watched"].to_numpy()
        use = (gap > 0) & (gap < SESSION_GAP_S) & (total > 0)
        ratios.append(total[use] / gap[use])
    ratio = np.concatenate(ratios)
    return float(np.median(ratio)) if len(ratio) >= FEW else None


def _lone_durations(duration: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Without watch times nothing but their size tells what durations are."""
    if np.median(duration) > LONGEST_MEDIAN:
        raise InputError(
            f"durations with a median of {np.median(duration):.3g} may be milliseconds, and the log"
            " does not tell; give seconds"
        )
    return duration, []


def _propensities(columns: Columns) -> np.ndarray:
    """Probabilities; NaN where a row states none, as our own logs do where a policy does not."""
    stated = columns.sparse("propensity")
    known = ~np.isnan(stated)
    wrong = known & ~((stated > 0) & (stated <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{columns.place('propensity')(row)}: a propensity of {stated[row]:g}; wanted"
            " probabilities above 0 and at most 1"
        )
    return stated


def clicks_of(
    columns: Columns, name: str, threshold: float | None, when: ClickWhen | None
) -> tuple[np.ndarray, bool, str]:
    """(n,) bool clicks, whether skips are logged, and a sentence that says how a click was made."""
    there = [role for role in ("click", "rating") if role in columns]
    if len(there) == 2 and threshold is not None:
        raise InputError(
            f"'{shown(name)}' has clicks and ratings; leave one of them out of --columns, as"
            " --click-threshold is for one"
        )
    if when is not None:
        if "click" in columns or threshold is not None:
            raise InputError(
                f"'{shown(name)}': --click-when says what a click is; leave out click=... and"
                " --click-threshold"
            )
        return _by_words(columns, when)
    if not there:
        if threshold is not None:
            raise InputError(
                f"'{shown(name)}': --click-threshold needs click=... or rating=... in --columns"
            )
        return (
            np.ones(len(columns), bool),
            False,
            "The log has no skips: every row counts as a click.",
        )
    role = there[0]
    values = columns.numbers(role)
    spanned = f"from {values.min():g} to {values.max():g}"
    if role == "rating" and threshold is None:
        raise InputError(
            f"'{shown(name)}': ratings {spanned} need --click-threshold (a rating of at least that"
            " counts as a click)"
        )
    if role == "click" and threshold is None and not set(np.unique(values)) <= {0.0, 1.0}:
        if values.min() <= 0 and (values == np.floor(values)).all() and values.min() >= 0:
            note = f"A click is a value of at least 1 in the click column, which goes {spanned}."
            return _with_skips(values >= 1, note)
        raise InputError(
            f"'{shown(name)}': the click column holds values {spanned},"
            f" {'none of them 0' if values.min() > 0 else 'not 0 and 1'}; say from which on a value"
            " is a click: --click-threshold"
        )
    cut = threshold if threshold is not None else 0.5
    if role == "rating":
        return _with_skips(values >= cut, f"A rating of at least {cut:g} counts as a click.")
    return _with_skips(
        values >= cut, f"A click is a value of at least {cut:g} in the click column."
    )


def _by_words(columns: Columns, when: ClickWhen) -> tuple[np.ndarray, bool, str]:
    words = pd.Series(columns.text("event").to_pylist(), dtype=object).fillna("").astype(str)
    missing = words.str.strip().str.lower().isin(MISSING).to_numpy()
    if missing.any():
        raise InputError(
            f"{columns.place('event')(int(np.argmax(missing)))}: {int(missing.sum())} of"
            f" {len(words)} rows have no word for --click-when; fill or remove them"
        )
    counts = words.value_counts()
    unknown = [word for word in when.words if word not in counts.index]
    listed = ", ".join(f"{shown(w, 30)} ({n})" for w, n in counts.head(8).items())
    if unknown:
        raise InputError(
            f"--click-when: '{shown(unknown[0])}' does not stand in column"
            f" '{shown(when.column)}'; there are: {listed}"
        )
    return _with_skips(
        words.isin(when.words).to_numpy(),
        f"A click is a row whose {shown(when.column)} is {' or '.join(when.words)}; of all rows:"
        f" {listed}.",
    )


def _with_skips(clicked: np.ndarray, how: str) -> tuple[np.ndarray, bool, str]:
    """A log in which nobody skips anything has no rate of its own: it holds what was chosen and
    nothing else.
    """
    if clicked.all():
        return clicked, False, f"{how} Every row is one, so the log tells no skips."
    return clicked, True, how
