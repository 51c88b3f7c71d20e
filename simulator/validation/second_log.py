"""Another log as the test: users fitted to one log answer the slates of another policy, or of
exploration traffic, as they would in a run.

Whether two logs can be compared comes first: who is in them, what is shown, when, and where.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from policies.common.errors import InputError
from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.sources.levels import by_propensity, is_generic
from simulator.users.choice_model import DAY
from simulator.validation.fidelity import FEEDBACK, Answers, Fidelity, judge
from simulator.validation.held_out import Replay, day_to_day
from simulator.validation.users import Users

FEWEST_ROWS, FEWEST = 100, 20
APART = 0.1  # of shares of hours and of values of the context
OTHER_USERS = 0.025  # of their click rates in the fitted log, relative
SAME = 0.9  # of the rows are by users of the log, or who answers what is not asked
SURE = 2.6  # standard errors over users
FURTHEST, CERTAIN = 25.0, 1e-9  # logits, and a probability that is moved no more
MOSTLY = 0.5  # of the rows have another value in a column that nobody has named
LONG_AFTER = 14.0  # days between the logs


@dataclass(frozen=True)
class Difference:
    """What differs between the logs, in words; `matters` where no verdict stands upon it, and
    `may_matter` where only a person knows.
    """

    what: str
    words: str
    matters: bool
    may_matter: bool = False


@dataclass(frozen=True)
class Second:
    """Another log in the terms of the one that users were fitted to.

    Attributes:
        data: the fitted log, with the users of the other one that it does not know behind its own.
        rows: of the other log. like: (more,) the users of the log whom those unknown ones are like.
        dropped: rows of items that the log does not have, and rows that stand in it. offset:
            seconds from the fitted log's time 0 to the other's; None where the logs do not say.
    """

    data: Dataset
    rows: Impressions
    like: np.ndarray
    dropped: tuple[int, int]
    offset: float | None


@dataclass(frozen=True)
class SecondFound:
    """What came out.

    Attributes:
        rows: of the second log. known: share of them by users of the first. differences: between
            the logs.
        rates: click rates of the second log: as it happened; as a run would have it; at the level
            of the fitted log's own slates.
        random: click rate of uniformly random slates at which the users would meet the second log;
            and the one that they were calibrated to.
        level_known: whether somebody says that rate, or propensities do. feedback: the figures by
            feedback, the level of clicks being moved to what happened.
    """

    rows: int
    known: float
    differences: list[Difference]
    rates: tuple[float, float, float]
    random: tuple[float, float]
    level_known: bool
    feedback: list[Fidelity]


def check_second(data: Dataset, other: Dataset) -> None:
    """Raises InputError where one of the logs does not say what was refused."""
    for flag, log in (("--log", data), ("--test-log", other)):
        if "skips" not in log.has:
            raise InputError(
                f"{flag} '{log.name}' has no skips: it does not say what was shown and not clicked;"
                " give a log of impressions"
            )


def in_terms_of(data: Dataset, other: Dataset, seed: int) -> Second:
    """Rows of the other log by the users and items of this one.

    Raises:
        InputError: hardly anything of it is known, or it has no skips.
    """
    check_second(data, other)
    item = _places(data.catalogue.ids[1:], other.catalogue.ids)[other.log.item] + 1
    kept = item > 0
    if kept.sum() < FEWEST_ROWS or kept.mean() < 0.5:
        raise InputError(
            f"--test-log '{other.name}': {int(kept.sum())} of {len(kept)} rows are of items of"
            f" --log '{data.name}'; wanted half of them, and {FEWEST_ROWS}; are the ids the same?"
        )
    known = _places(data.user_ids, other.user_ids)
    unknown = np.flatnonzero(known < 0)
    known[unknown] = data.n_users + np.arange(len(unknown))
    offset = None
    if data.ended is not None and other.ended is not None:
        offset = other.ended - data.ended
    time = other.log.time + (0.0 if offset is None else offset)
    if offset is None:  # after it, then
        time = time - time.min() + 1.0
    rows = replace(other.log, item=item.astype(np.int32), user=known[other.log.user], time=time)
    rows = rows.rows(kept)
    again = _shared(data.log, rows)
    if again.mean() > 0.5:
        raise InputError(
            f"--test-log '{other.name}' holds rows of --log '{data.name}' itself; give rows that"
            " users are not fitted to, or hold days out with --held-out-days"
        )
    rows = rows.rows(~again)
    clicks = int(rows.clicked.sum())
    if min(clicks, len(rows) - clicks) < FEWEST:
        raise InputError(
            f"--test-log '{other.name}' has {clicks} clicks in {len(rows)} rows; wanted {FEWEST}"
            " clicks, and as many skips"
        )
    rng = generator("users of a second log", seed)
    like = rng.choice(np.unique(data.log.user), len(unknown))
    ids = np.concatenate([data.user_ids, other.user_ids[unknown]])
    more = replace(data, user_ids=ids)
    return Second(more, rows, like, (int((~kept).sum()), int(again.sum())), offset)


def _shared(log: Impressions, rows: Impressions) -> np.ndarray:
    """(rows,) bool, those that the log holds: of the same user, item and second."""
    keys = [
        np.stack([x.user, x.item, np.round(x.time)], axis=1).astype(np.int64) for x in (log, rows)
    ]
    both = np.concatenate([np.ascontiguousarray(k).view("V24").ravel() for k in keys])
    _, code = np.unique(both, return_inverse=True)
    held: np.ndarray = np.isin(code[len(log) :], code[: len(log)])
    return held


def _places(known: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(n,) where each of `ids` stands among the known ones, -1 = nowhere."""
    order = np.argsort(known)
    at = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
    found: np.ndarray = np.where(known[order[at]] == ids, order[at], -1)
    return found


def tested(
    users: Users, data: Dataset, other: Dataset, places: list[Difference], k: int, seed: int
) -> SecondFound:
    """Everything about the second log.

    Args:
        data: what the users were made from. places: what is known of where pages were shown.
            k: the slates that the users were fitted for.
    """
    second = in_terms_of(data, other, seed)
    lived, selection = users.in_a_run(data, second.like, k, seed)
    predicted, one, unsure = lived.answers(second.data, second.rows, k)
    looked = users.looked(second.data, second.rows, k)
    happened = float(second.rows.clicked.mean())
    moved = shift_to(predicted["click"], looked, happened)
    own = _moved(predicted["click"], looked, selection)
    rates = happened, float(predicted["click"].mean()), float(own.mean())
    # On the scale of the level that a run is calibrated to: users there tire, and visit as they do.
    level = float(data.calibration["random_click_rate"][0])
    now, then = (lived.random(data, k, seed, by) for by in (0.0, moved))
    random = float(expit(logit(level) + _logit(then) - _logit(now)))
    feedback = _judged(second, other, predicted, one, unsure, (looked, moved), seed)
    told = [*differences(second, data, other), *places]
    known = not is_generic(data) or by_propensity(data) is not None or not np.isfinite(random)
    share = float((second.rows.user < data.n_users).mean())
    return SecondFound(len(second.rows), share, told, rates, (random, level), known, feedback)


def shift_to(p: np.ndarray, looked: np.ndarray, rate: float) -> float:
    """Logits by which clicks, once looked at, have to be moved to have this rate, or come nearest
    to it: what is certain stays so.
    """

    def gap(by: float) -> float:
        return float(_moved(p, looked, by).mean()) - rate

    if gap(-FURTHEST) * gap(FURTHEST) >= 0:
        return -FURTHEST if abs(gap(-FURTHEST)) < abs(gap(FURTHEST)) else FURTHEST
    return float(brentq(gap, -FURTHEST, FURTHEST))


def _moved(p: np.ndarray, looked: np.ndarray, by: float) -> np.ndarray:
    """(rows,) click probabilities, moved by so many logits once looked at."""
    inside = p / np.maximum(looked, 1e-12)
    certain = (inside <= CERTAIN) | (inside >= 1 - CERTAIN)
    there = np.clip(inside, CERTAIN, 1 - CERTAIN)
    moved: np.ndarray = np.where(certain, p, looked * expit(logit(there) + by))
    return moved


def _logit(rate: float) -> float:
    return float(logit(np.clip(rate, 1e-6, 1 - 1e-6)))


def _judged(
    second: Second,
    other: Dataset,
    predicted: Replay,
    one: Replay,
    unsure: dict[str, float],
    level: tuple[np.ndarray, float],
    seed: int,
) -> list[Fidelity]:
    """Every kind of feedback of which the second log has enough."""
    log, found, day = second.rows, [], np.floor(second.rows.time / DAY)
    looked, by = level
    for name, (column, flag) in FEEDBACK.items():
        y = getattr(log, column)
        if flag not in other.has or name not in predicted or min(y.sum(), (~y).sum()) < FEWEST:
            continue
        p, single = (
            x[name] / np.maximum(x["click"], 1e-12) * _moved(x["click"], looked, by)
            for x in (predicted, one)
        )
        rates = _level_alone(second, column)
        spread = day_to_day(y, log.user, day) / max(len(np.unique(day)), 1) ** 0.5
        wide = float(np.hypot(spread, unsure[name]))
        known = {"user + item": rates}
        answers = Answers(name, log.user, log.item, y, p, single, known, wide)
        found.append(judge(answers, generator("second log", seed, name)))
    return found


PRIOR = 10.0  # rows of everybody's rate behind each rate


def _level_alone(second: Second, column: str) -> np.ndarray:
    """(rows,) a simpler prediction: rates of the user and of the item in the fitted log, their
    logits added.
    """
    log, data = second.data.log, second.data
    y = getattr(log, column).astype(float)
    mean = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    x = np.full(len(second.rows), logit(mean))
    sizes = (
        (log.user, second.rows.user, data.n_users),
        (
            log.item,
            second.rows.item,
            data.catalogue.size + 1,
        ),
    )
    for of_log, of_rows, n in sizes:
        rate = (np.bincount(of_log, y, n) + PRIOR * mean) / (
            np.bincount(of_log, minlength=n) + PRIOR
        )
        x += (logit(rate) - logit(mean))[of_rows]
    simple: np.ndarray = expit(x)
    return simple


# -- what differs ----------------------------------------------------------------------------------


def differences(second: Second, data: Dataset, other: Dataset) -> list[Difference]:
    """Users, items, time and pages of the second log beside those of the first."""
    return [
        _users(second, data),
        _items(second, data),
        _time(second, data),
        _hours(second, data, other),
        _pages(data, other),
    ]


def _users(second: Second, data: Dataset) -> Difference:
    known = second.rows.user < data.n_users
    share = float(known.mean())
    words = f"{100 * share:.0f} % of the rows are by users of the log"
    if share < 1:
        words += "; the others answer like random ones of it"
    rows = np.bincount(data.log.user, minlength=data.n_users)
    own = np.unique(second.rows.user[known])
    own = own[rows[own] > 0]
    if share < SAME or not len(own) or "skips" not in data.has:
        return Difference("users", words, False)
    mean = float(data.log.clicked.mean())
    clicks = np.bincount(data.log.user, data.log.clicked, data.n_users)
    rates, everyone = (clicks + PRIOR * mean) / (rows + PRIOR), np.flatnonzero(rows)
    theirs, everybody = float(rates[own].mean()), float(rates[everyone].mean())
    words += f", who have a click rate of {theirs:.3f} in it (all of its users: {everybody:.3f})"
    error = float(rates[everyone].std() * (1 / len(own) - 1 / len(everyone)) ** 0.5)
    sure = abs(theirs - everybody) > SURE * error
    return Difference("users", words, sure and abs(theirs / everybody - 1) > OTHER_USERS)


def _items(second: Second, data: Dataset) -> Difference:
    shown = np.bincount(data.log.item, minlength=data.catalogue.size + 1)
    rare = float((shown[second.rows.item] < FEWEST).mean())
    words = (
        f"{100 * rare:.0f} % of the rows show items that the log shows fewer than {FEWEST} times"
    )
    unknown, again = second.dropped
    if unknown:
        words += f"; {unknown} rows show items that it does not have and are left out"
    if again:
        words += f"; {again} rows stand in both logs and are left out"
    return Difference("items", words, False)


def _time(second: Second, data: Dataset) -> Difference:
    if second.offset is None:
        return Difference("time", "the logs do not say which came first; taken for after it", False)
    begin, end = second.rows.time.min() / DAY, second.rows.time.max() / DAY
    words = f"from day {begin:+.1f} to day {end:+.1f} of the log's end"
    return Difference("time", words, begin > LONG_AFTER or end < data.log.time.min() / DAY)


def _hours(second: Second, data: Dataset, other: Dataset) -> Difference:
    if "order_only" in data.has | other.has or second.offset is None:
        return Difference("hours", "not told", False)
    shares = [
        np.bincount(np.floor(t / 3600 + data.hour_zero).astype(np.int64) % 24, minlength=24)
        for t in (data.log.time, second.rows.time)
    ]
    one, two = (x / x.sum() for x in shares)
    apart = float(np.abs(one - two).sum() / 2)
    words = f"{100 * apart:.0f} % of the rows would have to move to another hour of the day"
    return Difference("hours", words, apart > 2 * APART)


def _pages(data: Dataset, other: Dataset) -> Difference:
    sizes = [_rows_per_page(x.log) for x in (data, other)]
    words = f"{sizes[1]:.3g} rows per page (the log: {sizes[0]:.3g})"
    lacking = sorted((data.has ^ other.has) & {"slots", "sessions"})
    if lacking:
        words += f"; {' and '.join(lacking)} in one of them alone"
    return Difference("pages", words, not 2 / 3 < sizes[1] / sizes[0] < 3 / 2)


def _rows_per_page(log: Impressions) -> float:
    pages = np.unique(np.column_stack([log.user, log.session, log.page]), axis=0)
    return len(log) / len(pages)


def of_column(name: str, one: np.ndarray, other: np.ndarray, named: bool) -> Difference:
    """A column of both files that says where a page was shown, or may say so.

    Args:
        one, other: (rows,) its values as text. named: whether somebody says that it does.
    """
    values = np.unique(np.concatenate([one, other]))
    shares = [
        np.bincount(np.searchsorted(values, x), minlength=len(values)) / len(x)
        for x in (one, other)
    ]
    apart = float(np.abs(shares[0] - shares[1]).sum() / 2)
    most = [str(values[int(np.argmax(share))]) for share in shares]
    words = (
        f"'{name}' is mostly {most[1]} (the log: {most[0]}); {100 * apart:.0f} % of the rows would"
        " have to move"
    )
    if named:
        return Difference("context", words, apart > APART)
    words += f"; if it says where pages were shown, say --context {name}"
    return Difference("column", words, False, apart > MOSTLY)
