"""What follows from the times of a log: sessions, pages and places on a page."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

SESSION_GAP_S = 1800.0
DAY = 86_400.0
BLOCK_ROWS = 2_000_000  # of users whose visits are looked at together
SHORT_PAGE = 1.5  # rows per second of which a log writes its slots one by one


@dataclass(frozen=True)
class Visits:
    """Of the rows of a log, (rows,) each.

    Attributes:
        session: within the user or over all. page: within the session, slot: within the page, both
            from 0.
        time: seconds; the same for the rows of a page. note: a sentence on where sessions are from.
    """

    session: np.ndarray
    page: np.ndarray
    slot: np.ndarray
    time: np.ndarray
    note: str


def visits_of(
    users: np.ndarray,
    time: np.ndarray,
    session: np.ndarray | None,
    page: np.ndarray | None,
    slot: np.ndarray | None,
) -> Visits:
    """Sessions, pages and slots of a log that may tell them; what it does not tell is made up.

    Without sessions a pause of `SESSION_GAP_S` starts one. Without pages the rows of one second are
    a page; where a log writes every slot at a time of its own, a page ends where the slots start
    again.
    """
    note = "Sessions are the log's own."
    blocks = blocks_of(users)
    if session is None:
        session = np.empty(len(users), np.int32)
        for rows in blocks:
            session[rows] = sessions_of(users[rows], time[rows])
        note = "The log has no sessions: a pause of 30 minutes starts a new one."
    by_slots = page is None and slot is not None and bool(np.ptp(slot))
    by_slots = by_slots and _one_by_one(users, session, time, blocks)
    pages, slots = np.empty(len(users), np.int32), np.empty(len(users), np.int32)
    begun = np.empty(len(users))
    for rows in blocks:
        pages[rows], slots[rows], begun[rows] = _pages_and_slots(
            users[rows],
            time[rows],
            session[rows],
            None if page is None else page[rows],
            None if slot is None else slot[rows],
            by_slots,
        )
    return Visits(session, pages, slots, begun, note)


def blocks_of(users: np.ndarray) -> list[np.ndarray | slice]:
    """Rows in parts of whole users: what is made of a part on the way takes many times its
    memory.
    """
    if len(users) <= BLOCK_ROWS:
        return [slice(None)]
    order = np.argsort(users, kind="stable")
    ordered = users[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # row of each user
    wanted = np.arange(BLOCK_ROWS, len(users), BLOCK_ROWS)
    cuts = first[np.searchsorted(first, wanted, side="right") - 1]
    return [part for part in np.split(order, np.unique(cuts)) if len(part)]


def _one_by_one(
    users: np.ndarray,
    session: np.ndarray,
    time: np.ndarray,
    blocks: list[np.ndarray | slice],
) -> bool:
    """Whether hardly any rows share a second of their session."""
    seconds = 0
    for rows in blocks:
        of = pd.DataFrame(
            {"user": users[rows], "session": session[rows], "second": np.floor(time[rows])}
        )
        seconds += len(of.drop_duplicates())
    return len(users) < SHORT_PAGE * seconds


def _pages_and_slots(
    users: np.ndarray,
    time: np.ndarray,
    session: np.ndarray,
    page: np.ndarray | None,
    slot: np.ndarray | None,
    by_slots: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pages, slots, and the time of each row's page.

    Args:
        by_slots: a page ends where the slots start again.
    """
    rows = pd.DataFrame({"user": users, "session": session, "time": time})
    visit = ["user", "session"]
    by_second, place = pages_of(users, session, time)
    if page is not None:  # it may be numbered from 1, or over all sessions
        page = (
            rows.assign(page=page)
            .groupby(visit)["page"]
            .rank(method="dense")
            .to_numpy()
            .astype(np.int64)
            - 1
        )
    elif by_slots and slot is not None:
        page = _pages_by_slot(rows, slot)
    of_page = rows.assign(page=by_second if page is None else page).groupby([*visit, "page"])[
        "time"
    ]
    if slot is None:
        slot = (
            place if page is None else of_page.rank(method="first").to_numpy().astype(np.int64) - 1
        )
    begun = of_page.transform("min").to_numpy()
    return by_second if page is None else page, slot, begun


def _pages_by_slot(rows: pd.DataFrame, slot: np.ndarray) -> np.ndarray:
    """(rows,) page within the session: a new one wherever the slot does not grow."""
    order = np.lexsort((slot, rows["time"], rows["session"], rows["user"]))
    at = slot[order]
    visit = rows.groupby(["user", "session"]).ngroup().to_numpy()[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = visit[1:] != visit[:-1]
    begins = fresh.copy()
    begins[1:] |= at[1:] <= at[:-1]
    number = np.cumsum(begins)
    page = np.empty(len(order), np.int64)
    page[order] = number - np.maximum.accumulate(np.where(fresh, number, 0))
    return page


def about_span(time: np.ndarray, rows: int) -> str:
    """A sentence that shows at a glance whether the times were seconds."""
    hours = float(np.ptp(time)) / 3600
    return (
        f"{rows} rows over {hours / 24:.3g} days."
        if hours >= 24
        else f"{rows} rows over {hours:.3g} hours."
    )


def whole_days(time: np.ndarray) -> bool:
    """Whether a log of several days tells the day of each event and not its hour."""
    return bool(np.ptp(time) > 0 and not (time % DAY).any())


def sessions_of(users: np.ndarray, time: np.ndarray) -> np.ndarray:
    """(rows,) session number within the user: a pause of `SESSION_GAP_S` starts a new one."""
    order = np.lexsort((time, users))
    new_user = np.ones(len(order), bool)
    new_user[1:] = users[order][1:] != users[order][:-1]
    starts = new_user.copy()
    starts[1:] |= np.diff(time[order]) >= SESSION_GAP_S
    number = np.cumsum(starts)
    first = np.maximum.accumulate(np.where(new_user, number, 0))
    session = np.empty(len(order), np.int64)
    session[order] = number - first
    return session


def pages_of(
    users: np.ndarray, session: np.ndarray, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Page within the session (rows of one second are one page) and place within the page, both
    from 0.
    """
    frame = pd.DataFrame({"user": users, "session": session, "second": np.floor(time)})
    page = (
        frame.groupby(["user", "session"])["second"]
        .rank(method="dense")
        .to_numpy()
        .astype(np.int64)
        - 1
    )
    slot = frame.groupby(["user", "session", "second"]).cumcount().to_numpy()
    return page, slot


def whole_sessions(users: np.ndarray, session: np.ndarray, skips: bool) -> bool:
    """Whether session length can be learned: skips are logged and fewer than half of the sessions
    are one row.
    """
    visit = users.astype(np.int64) << 32
    visit |= session.astype(np.uint32)  # either may be numbered over all users
    visit.sort()
    begins = np.flatnonzero(np.r_[True, visit[1:] != visit[:-1]])
    lengths = np.diff(begins, append=len(visit))
    return bool(skips and np.mean(lengths == 1) < 0.5)
