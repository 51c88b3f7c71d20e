"""A column of times as seconds since 1970, in whatever unit and way of writing: read where there is
one reading, refused where there are two. What was read is said.

The column is looked at batch by batch first (`Clock.look`), since one value may settle what the
others mean, then read (`Clock.seconds`).
"""

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.common.errors import InputError, shown
from policies.sources.values import MISSING, Place, flat, is_text, parsed, text

DAY = 86_400.0
UNITS = {  # seconds in each
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": DAY,
}
NAMES = {
    "ns": "nanoseconds",
    "us": "microseconds",
    "ms": "milliseconds",
    "s": "seconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
}
# seconds since 1970 are below the first until the year 5138, milliseconds below the second, ...
BEYOND = (("s", 1e11), ("ms", 1e14), ("us", 1e17), ("ns", 1e20))
SINCE_1970 = 1e8  # a smaller number of seconds (before 1973) counts from another beginning
LONGEST = 30 * 365.25 * DAY  # a log that spans more holds times of 0, or two units
LONGEST_RELATIVE = 100 * DAY
SHORTEST = DAY  # of times that count from the log's beginning: fewer may be minutes, hours or days
MANY = 50  # rows of a log that would all lie within it
COARSE = 60.0  # s; times to the minute do not tell copies from repeats

BEHIND = "a date with the year behind"

_CLOCK = r"(?:[T ]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?: ?[AaPp][Mm])?)?"
_ZONE = r" ?(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)"
_YEAR_FIRST = re.compile(rf"^\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}{_CLOCK}(?:{_ZONE})?$")
_COMPACT = re.compile(rf"^\d{{8}}[T ]\d{{2}}:?\d{{2}}(?::?\d{{2}}(?:[.,]\d{{1,9}})?)?(?:{_ZONE})?$")
_YEAR_LAST = re.compile(rf"^(\d{{1,2}})[-/.](\d{{1,2}})[-/.]\d{{4}}{_CLOCK}(?:{_ZONE})?$")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_NAMED = re.compile(
    rf"^(?:[a-z]{{3,9}},? )?(?:\d{{1,2}}[-/ ]{_MONTH}[-/ ,]+\d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}})"
    rf"(?:[: T]\d{{1,2}}:\d{{2}}(?::\d{{2}}(?:\.\d{{1,9}})?)?(?: ?[ap]m)?)?(?:{_ZONE})?$",
    re.IGNORECASE,
)
_ZONED = re.compile(rf"\d:\d{{2}}.*?{_ZONE}$|\d{{2}}T?\d{{4,6}}{_ZONE}$", re.IGNORECASE)
_NUMBER = re.compile(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")


@dataclass
class Clock:
    """What a column of times says about its unit and its way of writing.

    Attributes:
        unit: as the person says, one of `UNITS`; None = found out.
        column: its name, for refusals.
    """

    column: str
    unit: str | None = None
    zoned: bool = False
    _rows: int = 0
    # kind -> where the first of it stands, and its value
    _kinds: dict[str, tuple[str, str]] = field(default_factory=dict)
    _least: float = np.inf
    _most: float = -np.inf
    _digits: set[str] = field(default_factory=set)  # ways in which all numbers so far are dates
    _day_first: str | None = None  # where the first number of a date is no month
    _month_first: str | None = None

    def look(self, values: pa.Array | pa.ChunkedArray, place: Place) -> None:
        """Takes note of a batch.

        Raises:
            InputError: a value that is no time at all.
        """
        values = flat(values)
        kind = values.type
        self._rows += len(values)
        if not len(values) or values.null_count == len(values):
            return
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zoned = pa.types.is_timestamp(kind) and kind.tz is not None
            self._first("a date with a time zone" if zoned else "a date", place, values)
            self.zoned |= zoned
        elif pa.types.is_duration(kind):
            self._first("a duration", place, values)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self._first("a number", place, values)
            self._numbers(_floats(values))
        elif is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            self._words(values, place)
        else:
            raise InputError(
                f"{place(0)}: the time is of type {shown(kind, 60)}; wanted seconds or dates such"
                " as 2026-05-01 12:00:00"
            )

    def seconds(self, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """(n,) float64 seconds since 1970, or since the log's own beginning; NaN where missing.

        Times without a zone count as UTC.
        """
        values = flat(values)
        kind = values.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return _of_dates(values.cast(pa.timestamp("us"), safe=False))
        if pa.types.is_duration(kind):
            return _floats(values.cast(pa.duration("us"), safe=False).cast(pa.int64())) / 1e6
        if not (is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            return _floats(values) * UNITS[self._unit()]
        words = _words_of(values)
        if "a number" in self._kinds:
            return parsed(words) * UNITS[self._unit()]
        found = self._dates(words)
        wrong = np.isnan(found) & ~words.str.lower().isin(MISSING).to_numpy()
        if wrong.any():
            raise InputError(
                f"column '{shown(self.column)}' (for time): there is no date"
                f" '{shown(words[int(np.argmax(wrong))], 40)}'"
            )
        return found

    def check(self) -> None:
        """Refuses what has two readings, and what is no time of a log.

        Raises:
            InputError: one line with what to do.
        """
        kinds = list(self._kinds)
        if len(kinds) > 1:
            raise InputError(
                f"{self._kinds[kinds[1]][0]} (for time): {kinds[1]}, {self._kinds[kinds[1]][1]},"
                f" after {kinds[0]}, {self._kinds[kinds[0]][1]}; write all times in one way"
            )
        if self._day_first and self._month_first:
            raise InputError(
                f"column '{shown(self.column)}' (for time) has dates whose first number is no month"
                f" ({self._day_first}) and others whose second is none ({self._month_first});"
                " write ISO dates (YYYY-MM-DD)"
            )
        behind = self._kinds.get(BEHIND) or self._kinds.get(f"{BEHIND} and a zone")
        if behind and not (self._day_first or self._month_first):
            raise InputError(
                f"{' (for time): the month of a date such as '.join(behind)} may be its first or"
                " its second number; write ISO dates (YYYY-MM-DD)"
            )
        if "a number" in self._kinds:
            self._check_numbers()

    def note(self, time: tuple[float, float]) -> str:
        """A sentence on what was read.

        Args:
            time: the first and the last, in seconds.
        """
        first, last = time
        if first >= SINCE_1970:
            spanned = (
                " to ".join(str(pd.Timestamp(x, unit="s").floor("s")) for x in (first, last))
                + " UTC"
            )
        else:
            hours = (last - first) / 3600
            spanned = f"{hours / 24:.3g} days" if hours >= 24 else f"{hours:.3g} hours"
        if "a number" in self._kinds:
            unit = self._unit()
            turned = "" if unit == "s" else ", converted to seconds"
            return f"Times are {NAMES[unit]}{turned}: {spanned}."
        if self._day_first or self._month_first:
            which = "day" if self._day_first else "month"
            return (
                f"Dates are read with the {which} first, since"
                f" {self._day_first or self._month_first} has no other reading: {spanned}."
            )
        zone = "" if self.zoned else " (dates without a time zone count as UTC)"
        return f"Times go from {spanned}{zone}."

    # -- looking -----------------------------------------------------------------------------------

    def _first(self, kind: str, place: Place, values: pa.Array, row: int = 0) -> None:
        if kind not in self._kinds:
            try:
                value = values[row].as_py()
            except (OverflowError, ValueError):  # a date that Python does not know
                value = values[row].cast(pa.int64(), safe=False).as_py()
            self._kinds[kind] = place(row), f"'{shown(value, 40)}'"

    def _numbers(self, numbers: np.ndarray) -> None:
        there = numbers[np.isfinite(numbers)]
        if not len(there):
            return
        fresh = not np.isfinite(self._least)
        self._least = min(self._least, float(there.min()))
        self._most = max(self._most, float(there.max()))
        ways = {name for name in _WAYS if _are_dates(there, name)}
        self._digits = ways if fresh else self._digits & ways

    def _words(self, values: pa.Array, place: Place) -> None:
        strings = text(values, place, "time")
        fast = _iso(strings)
        if fast is not None:
            self._first("a date", place, strings, _first_there(strings))
            return
        words = _words_of(strings)
        there = ~words.str.lower().isin(MISSING)
        numeric = there & words.str.match(_NUMBER)
        if numeric.any():
            self._first("a number", place, strings, int(np.argmax(numeric)))
            self._numbers(parsed(words[numeric]))
        others = there & ~numeric
        if not others.any():
            return
        named = words.str.replace(r"^\[|\]$", "", regex=True)
        parts = words.str.extract(_YEAR_LAST)
        last = others & parts[0].notna()
        known = last | words.str.match(_YEAR_FIRST) | words.str.match(_COMPACT)
        known |= named.str.match(_NAMED)
        odd = others & ~known
        if odd.any():
            row = int(np.argmax(odd))
            raise InputError(
                f"{place(row)} (for time) holds '{shown(words[row], 40)}', no number and no date"
                " with one reading; write ISO dates such as 2026-05-01 12:00:00, or seconds"
            )
        if last.any():
            with_zone = last & words.str.contains(_ZONED)
            for rows, kind in ((last & ~with_zone, BEHIND), (with_zone, f"{BEHIND} and a zone")):
                if rows.any():
                    self._first(kind, place, strings, int(np.argmax(rows)))
            self.zoned |= bool(with_zone.any())
            for number, name in ((0, "_day_first"), (1, "_month_first")):
                big = last & (parts[number].astype(float) > 12)
                if big.any() and getattr(self, name) is None:
                    setattr(self, name, f"'{words[int(np.argmax(big))]}'")
        first = others & ~last
        with_zone = first & named.str.contains(_ZONED)
        if with_zone.any():
            self.zoned = True
            self._first("a date with a time zone", place, strings, int(np.argmax(with_zone)))
        if (first & ~with_zone).any():
            self._first("a date", place, strings, int(np.argmax(first & ~with_zone)))
        self._refuse_impossible(self._dates(words), words, others, place)

    def _refuse_impossible(
        self, found: np.ndarray, words: pd.Series, there: pd.Series, place: Place
    ) -> None:
        """Such as 30 February; not yet where the order of day and month is not known."""
        if BEHIND in self._kinds or f"{BEHIND} and a zone" in self._kinds:
            return
        wrong = there & np.isnan(found)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{place(row)} (for time): there is no date '{shown(words[row], 40)}'")

    # -- reading -----------------------------------------------------------------------------------

    def _dates(self, words: pd.Series) -> np.ndarray:
        strings = pa.array([word or None for word in words], pa.string())
        fast = _iso(strings)
        if fast is not None:
            return _of_dates(fast)
        plain = words.str.replace(r"^\[|\]$", "", regex=True)
        plain = plain.str.replace(r"(\d)(?: UTC| GMT|UTC|GMT)$", r"\1Z", regex=True)
        plain = plain.str.replace(r"(:\d{2}),(\d)", r"\1.\2", regex=True)
        # Apache's 01/May/2026:12:00:00, and slashes and points where ISO has dashes
        plain = plain.str.replace(r"(\d{4}):(\d{2}:)", r"\1 \2", regex=True)
        plain = plain.str.replace(r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})", r"\1-\2-\3", regex=True)
        dates = pd.to_datetime(
            plain, errors="coerce", utc=True, format="mixed", dayfirst=self._day_first is not None
        )
        out = dates.dt.as_unit("us").astype("int64").to_numpy(np.float64) / 1e6
        out[dates.isna().to_numpy()] = np.nan
        return np.asarray(out)

    def _unit(self) -> str:
        if self.unit is not None:
            return self.unit
        most = max(abs(self._least), abs(self._most))
        return next((unit for unit, limit in BEYOND if most < limit), "ns")

    def _check_numbers(self) -> None:
        where = f"column '{shown(self.column)}' (for time)"
        if not np.isfinite(self._least):
            return
        if self.unit is not None:
            return
        spanned = f"from {self._least:.10g} to {self._most:.10g}"
        say = f"say which with --time-unit ({', '.join(UNITS)})"
        if self._digits:
            raise InputError(
                f"{where}: times {spanned} look like days written as {sorted(self._digits)[0]}, and"
                f" may be numbers; write ISO dates (YYYY-MM-DD), or {say}"
            )
        if max(abs(self._least), abs(self._most)) >= BEYOND[-1][1]:
            raise InputError(f"{where}: times {spanned} are of no unit of time; give seconds")
        scale = UNITS[self._unit()]
        least, most = self._least * scale, self._most * scale
        span = most - least
        if span > LONGEST:
            raise InputError(
                f"{where}: times {spanned} span {span / 365.25 / DAY:.0f} years; are two units"
                " mixed, or is a missing time written as 0? Give seconds or ISO dates"
            )
        if least >= SINCE_1970:
            return
        if span > LONGEST_RELATIVE:
            raise InputError(
                f"{where}: times {spanned} would be {span / DAY:.0f} days in seconds; they may be"
                f" milliseconds: {say}"
            )
        if self._rows >= MANY and span < SHORTEST:
            raise InputError(
                f"{where}: {self._rows} rows within {span:.3g} seconds; the times {spanned} may be"
                f" minutes, hours or days: {say}"
            )
        if self._rows >= 10 and least > max(10 * span, 1000.0):
            raise InputError(
                f"{where}: times {spanned} are neither seconds since 1970 nor since the log began;"
                f" {say}"
            )


# -- numbers that are dates ------------------------------------------------------------------------
_WAYS = {"YYYYMMDD": 8, "YYYYMMDDHH": 10, "YYYYMMDDHHMM": 12, "YYYYMMDDHHMMSS": 14}


def _are_dates(numbers: np.ndarray, way: str) -> bool:
    """Whether these numbers are all days, with hours or without, written one behind the other."""
    if (numbers != np.floor(numbers)).any() or np.abs(numbers).max() >= 2.0**53:
        return False
    rest = numbers.astype(np.int64)
    limits = {"SS": (0, 59), "MM": (0, 59), "HH": (0, 23)}
    for name in re.findall("..", way[8:])[::-1]:
        low, high = limits[name]
        if ((rest % 100 < low) | (rest % 100 > high)).any():
            return False
        rest = rest // 100
    year, month, day = rest // 10_000, rest // 100 % 100, rest % 100
    good = (year >= 1970) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return bool(good.all())


FURTHEST = 7.26e9  # s since 1970: the year 2200
EARLIEST = 3.15e8  # s since 1970: the year 1980, and what is less may count from somewhere else


def refuse_far(first: float, last: float, column: str) -> None:
    """Raises InputError at dates of no log."""
    if last > FURTHEST or first < -FURTHEST:
        year = 1970 + (last if last > FURTHEST else first) / DAY / 365.2425
        raise InputError(
            f"column '{shown(column)}' (for time): times reach the year {year:.0f}; look for one"
            " that is wrong, or for another unit"
        )


@dataclass(frozen=True)
class Times:
    """Of the rows of a log: `time` (n,) seconds before the last event (<= 0), the hour of the day
    of that event, what was read in a sentence, whether times are to the minute or coarser, and when
    that event was, in seconds since 1970 (None where the log counts from somewhere else).
    """

    time: np.ndarray
    hour: float
    note: str
    coarse: bool
    ended: float | None = None


def times_of(
    values: pa.Array | pa.ChunkedArray, column: str, place: Place, unit: str | None = None
) -> Times:
    """All times of a log at once.

    Raises:
        InputError: one is missing, or they are no times of a log (`Clock`).
    """
    clock = Clock(column, unit)
    clock.look(values, place)
    clock.check()
    raw = clock.seconds(values)
    where = f"column '{shown(column)}' (for time)"
    wrong = ~np.isfinite(raw)
    if wrong.any():
        raise InputError(
            f"{place(int(np.argmax(wrong)))} (for time): {int(wrong.sum())} of {len(raw)} times are"
            " missing or not finite; fill or remove these rows"
        )
    first, last = float(raw.min()), float(raw.max())
    refuse_far(first, last, column)
    if last - first > LONGEST:
        raise InputError(
            f"{where}: times span {(last - first) / 365.25 / DAY:.0f} years; look for one that is"
            " wrong"
        )
    if len(raw) > 1 and last == first:
        raise InputError(
            f"{where}: all {len(raw)} times are the same; give the second or the day of each event"
        )
    time = raw - last
    ended = last if last > EARLIEST else None
    note, coarse = clock.note((first, last)), bool(not (raw % COARSE).any())
    return Times(time, last % DAY / 3600, note, coarse, ended)


# -- arrays ----------------------------------------------------------------------------------------


def _floats(values: pa.Array) -> np.ndarray:
    floats = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(floats, dtype=np.float64)


def _of_dates(values: pa.Array) -> np.ndarray:
    """Of Arrow timestamps [us]."""
    out = _floats(values.cast(pa.int64())) / 1e6
    if values.null_count:
        out[values.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return out


def _iso(strings: pa.Array) -> pa.Array | None:
    """Arrow's own reader of plain ISO dates without a zone: fast; None where it cannot."""
    try:
        found = strings.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return found


def _words_of(values: pa.Array) -> pd.Series:
    """Stripped text, "" where nothing stands."""
    strings = text(values, lambda row: f"row {row + 1}", "time").to_pylist()
    return pd.Series(strings, dtype=object).fillna("").astype(str).str.strip()


def _first_there(strings: pa.Array) -> int:
    return int(np.argmax(strings.is_valid().to_numpy(zero_copy_only=False)))
