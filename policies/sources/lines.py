"""Text files of "user item item ..." lines."""

from pathlib import Path

import numpy as np
import pandas as pd

from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.log import Dataset, Impressions

MADE_UP_GAP_S = 60.0  # between choices of which the order alone is known


def read_lines(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A text file of "user item item ..." lines, items in the order of time; ids may be any words.

    Returns:
        Of each row the user from 0 and the item from 1, grouped by user, oldest first; the users'
        ids and the items' ids.
    """
    if not path.is_file():
        raise InputError(f"there is no file '{path}'")
    try:
        words = [
            line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except UnicodeDecodeError:
        raise InputError(f"'{path}' is not text; wanted lines of 'user item item ...'") from None
    if not words or all(len(line) < 2 for line in words):
        raise InputError(f"'{path}' holds no line of 'user item item ...'; give one user per line")
    names = [line[0] for line in words]
    if len(set(names)) < len(names):
        raise InputError(
            f"'{path}' names a user on two lines; wanted one line per user, items in order of time"
        )
    user = np.repeat(np.arange(len(words)), [len(line) - 1 for line in words])
    codes, ids = pd.factorize(np.array([item for line in words for item in line[1:]], dtype=object))
    return user, (codes + 1).astype(np.int32), np.array(names), np.asarray(ids).astype(str)


def from_lines(path: Path, columns: str | None, click_threshold: float | None) -> Dataset:
    """Loads a text file of "user item item ..." lines: the order of choices and nothing else."""
    if columns is not None or click_threshold is not None:
        raise InputError(
            f"'{path.name}' holds lines of 'user item item ...'; --columns and --click-threshold"
            " are for tables"
        )
    user, item, users, items = read_lines(path)
    from_end = pd.Series(user).groupby(user).cumcount(ascending=False).to_numpy()
    # A minute apart, users a little apart, so that the last tenth of the rows is that of all users.
    time = -MADE_UP_GAP_S * (from_end + user / len(users))
    log = Impressions.of(user=user, item=item, time=time, clicked=np.ones(len(user), bool)).sorted()
    notes = (
        "The log has no skips: every row counts as a click.",
        (
            "It tells the order of choices alone; times are made up, a minute apart, and all that"
            " follows from times is assumed."
        ),
    )
    catalogue = Catalogue.of(items)
    log.check(catalogue.size)
    return Dataset(log, catalogue, users, path.name, frozenset({"order_only"}), notes=notes)
