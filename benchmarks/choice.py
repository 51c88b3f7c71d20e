"""Choice among all items: how high the taste that users are fitted with ranks what was chosen next.

    python benchmarks/choice.py --log kuairand:DIR --held-out-days 8

Each user's first choice in the held-out days (a long view where the log has them, else a click) is
ranked among all items that the user had not chosen before; HR@10 and HR@100 of what
users without skips are fitted with (popularity, taste, closeness to the last choices:
`simulator/fitting/choices`) beside popularity, recent popularity and item-kNN, all fitted on the
days before.
"""

import argparse
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.neural.next_items import best
from policies.neural.sequences import Sequences
from policies.registry import make
from simulator.experiment.data import load_data
from simulator.fitting.choices.held_choices import COLUMNS, HeldChoices
from simulator.fitting.choices.positive_only import Choices, fit_choices
from simulator.fitting.closeness import closeness
from simulator.fitting.factors import choices, full_taste, profile, unit_of
from simulator.settings import Experiment, add_log_flags, log_settings
from simulator.validation.validation import split


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_log_flags(parser)
    parser.add_argument("--held-out-days", type=int, default=8)
    given = parser.parse_args()
    early, late = split(
        load_data(Experiment(**log_settings(given), repeat_after=0)), given.held_out_days
    )
    column = "long_view" if "long_view" in early.has else "clicked"
    early, late = chosen_by(early, column), late.rows(getattr(late, column))
    before = Impressions.concat([early.history, early.log.rows(early.log.clicked)])
    users, first = np.unique(late.user, return_index=True)
    known = np.isin(users, before.user)
    users, targets = users[known], late.item[first][known]
    n_items = early.catalogue.size
    had = sp.csr_matrix(
        (np.ones(len(before)), (before.user, before.item)), shape=(early.n_users, n_items + 1)
    )
    held = HeldChoices.of(early, 0)
    space = held.space()
    user, item, _ = choices(early)
    own = profile(full_taste(early, 0, space.coarse), user, item)
    found = fit_choices(early, held, space, own.scaled(unit_of(own, generator("choice"))), 0)
    everything = np.arange(n_items + 1)
    scores = {
        "popularity": lambda u: np.tile(
            np.bincount(before.item, minlength=n_items + 1).astype(float), (len(u), 1)
        ),
        "recent popularity": lambda u: np.tile(
            np.bincount(early.log.item[early.log.clicked], minlength=n_items + 1).astype(float),
            (len(u), 1),
        ),
        "choices": lambda u: scores_of(found, u, everything),
    }
    print(
        f"{len(users)} users, first {column.replace('_', ' ')} of the last {given.held_out_days}"
        " days"
    )
    for name, score in scores.items():
        places = []
        for begin in range(0, len(users), 500):
            part, target = users[begin : begin + 500], targets[begin : begin + 500]
            x = np.where(had[part].toarray() > 0, -np.inf, score(part))
            x[:, 0] = -np.inf
            places.append((x > x[np.arange(len(part)), target][:, None]).sum(axis=1))
        report(name, np.concatenate(places) < 10, np.concatenate(places) < 100)
    policy = make("itemknn")
    policy.fit(early.for_policies(), early.catalogue, generator("knn"))
    slates = best(
        policy, n_items, users, Sequences.of(before.rows(np.isin(before.user, users))), 100
    )
    report(
        "item-kNN",
        (slates[:, :10] == targets[:, None]).any(axis=1),
        (slates == targets[:, None]).any(axis=1),
    )


def scores_of(found: Choices, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(users, items) by the slopes of choices."""
    slopes = dict(zip(COLUMNS, found.slopes, strict=True))
    close = closeness(found.near, found.last_chosen[users], np.tile(items, (len(users), 1)))
    scores: np.ndarray = found.steepest * found.popularity + slopes["closeness"] * close
    return scores + slopes["profile"] * found.profile.score(users[:, None], items[None, :])


def chosen_by(data: Dataset, column: str) -> Dataset:
    """The log with this column as what was chosen."""
    return replace(data, log=replace(data.log, clicked=getattr(data.log, column)))


def report(name: str, ten: np.ndarray, hundred: np.ndarray) -> None:
    error = np.sqrt(ten.mean() * (1 - ten.mean()) / len(ten))
    print(f"{name}: HR@10 {ten.mean():.3f} (s.e. {error:.3f}), HR@100 {hundred.mean():.3f}")


if __name__ == "__main__":
    main()
