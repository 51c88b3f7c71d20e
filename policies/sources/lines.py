"""Text files of "user item item ..." lines, or of "user item" pairs, one per line."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from policies.catalogue import Catalogue
from policies.common.errors import InputError, shown
from policies.log import Dataset, Impressions
from policies.sources.files import is_packed, readable
from policies.sources.roles import Reading

MADE_UP_GAP_S = 60.0  # between choices of which the order alone is known


def read_lines(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A text file of "user item item ..." lines, one per user, or of "user item" pairs (the format
    of SASRec's own code); items in the order of time. Ids may be any words.

    Returns:
        Of each row the user from 0 and the item from 1, grouped by user, oldest first; the users'
        ids and the items' ids.
    """
    if not path.is_file():
        raise InputError(f"there is no file '{shown(path)}'")
    try:
        with readable(path):
            packed = is_packed(path)
            raw = path.read_bytes()
            content = gzip.decompress(raw) if packed else raw
            text = content.decode("utf-8-sig")
    except InputError:
        raise InputError(
            f"'{shown(path)}' is no text in UTF-8; wanted lines of 'user item item ...'"
        ) from None
    words = [line.split() for line in text.splitlines() if line.strip()]
    if not words or all(len(line) < 2 for line in words):
        raise InputError(
            f"'{shown(path)}' holds no line of 'user item item ...'; give one user per line, or"
            " call a table with columns .csv or .tsv"
        )
    _refuse_tables(path, words)
    names = [line[0] for line in words]
    ids, user = _grouped(path, words, names)
    items = np.array([item for line in words for item in line[1:]], dtype=object)
    order = np.argsort(user, kind="stable")
    codes, item_ids = pd.factorize(items[order])
    return user[order], (codes + 1).astype(np.int32), ids, np.asarray(item_ids).astype(str)


def _refuse_tables(path: Path, words: list[list[str]]) -> None:
    """A table that is called .txt has its commas, its header or its times taken for ids."""
    first = "".join(c for c in words[0][0].lower() if c.isalnum())
    if first in ("user", "userid", "uid") or any("," in word for word in words[0]):
        raise InputError(
            f"'{shown(path)}' has a header or commas; wanted lines of 'user item item ...' with"
            " blanks alone, or call a table .csv or .tsv"
        )
    if len(words) > 1 and {len(line) for line in words} == {4}:
        last = [line[3] for line in words]
        if all(word.isdigit() and len(word) >= 9 for word in last):
            raise InputError(
                f"'{shown(path)}' looks like user, item, rating and time; call it .data"
            )


def _grouped(path: Path, words: list[list[str]], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The users' ids, in the order in which they come, and the user of each item."""
    if len(set(names)) < len(names) and {len(line) for line in words} != {2}:
        twice = names[pd.Series(names).duplicated().to_numpy().argmax()]
        raise InputError(
            f"'{shown(path)}' names user '{shown(twice)}' on two lines; wanted one line per user,"
            " items in order of time, or 'user item' pairs alone"
        )
    first, ids = pd.factorize(np.array(names, dtype=object))
    return np.asarray(ids).astype(str), np.repeat(first, [len(line) - 1 for line in words])


def from_lines(path: Path, reading: Reading) -> Dataset:
    """Loads such a text file: the order of choices and nothing else."""
    if reading != Reading():
        raise InputError(
            f"'{shown(path.name)}' holds lines of 'user item item ...'; --columns and"
            " --click-threshold are for tables, --click-when and --time-unit too"
        )
    user, item, users, items = read_lines(path)
    from_end = pd.Series(user).groupby(user).cumcount(ascending=False).to_numpy()
    # A minute apart, users a little apart, so that the last tenth of the rows is that of all users.
    time = -MADE_UP_GAP_S * (from_end + user / len(users))
    chosen = np.ones(len(user), bool)
    log = Impressions.of(user=user, item=item, time=time, shown=~chosen, clicked=chosen).sorted()
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
