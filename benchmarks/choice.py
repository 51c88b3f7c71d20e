"""Choice among all items: how high the taste that users are fitted with ranks what was chosen next.

    python benchmarks/choice.py --log kuairand:DIR --held-out-days 8

Each user's first choice in the held-out days (a long view where the log has them, else a click) is ranked among all
items that the user had not chosen before; HR@10 and HR@100 of the contrast (popularity and taste, `simulator/contrast.py`)
beside popularity, recent popularity and item-kNN, all fitted on the days before.
"""

import argparse
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from policies.base import plain_requests
from policies.draws import Draws, generator
from policies.log import Dataset, Impressions
from policies.registry import make
from simulator.config import Experiment, add_log_flags, log_settings
from simulator.contrast import fit_contrast
from simulator.stages import load_data
from simulator.taste import cross_fitted, full_taste
from simulator.validate import split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_flags(parser)
    parser.add_argument("--held-out-days", type=int, default=8)
    given = parser.parse_args()
    early, late = split(load_data(Experiment(**log_settings(given), repeat_after=0)), given.held_out_days)
    column = "long_view" if "long_view" in early.has else "clicked"
    early, late = chosen_by(early, column), late.rows(getattr(late, column))
    before = Impressions.concat([early.history, early.log.rows(early.log.clicked)])
    users, first = np.unique(late.user, return_index=True)
    known = np.isin(users, before.user)
    users, targets = users[known], late.item[first][known]
    n_items = early.catalogue.size
    had = sp.csr_matrix((np.ones(len(before)), (before.user, before.item)), shape=(early.n_users, n_items + 1))
    contrast = fit_contrast(
        early, full_taste(early, 0), cross_fitted(early, generator("choice")), generator("choice", "contrast")
    )
    everything = np.arange(n_items + 1)
    scores = {
        "popularity": lambda u: np.tile(np.bincount(before.item, minlength=n_items + 1).astype(float), (len(u), 1)),
        "recent popularity": lambda u: np.tile(
            np.bincount(early.log.item[early.log.clicked], minlength=n_items + 1).astype(float), (len(u), 1)
        ),
        "contrast": lambda u: contrast.score(u[:, None], everything[None, :]),
    }
    print(f"{len(users)} users, first {column.replace('_', ' ')} of the last {given.held_out_days} days")
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
    slates = knn(policy, early, before, had, users)
    report("item-kNN", (slates[:, :10] == targets[:, None]).any(1), (slates == targets[:, None]).any(1))


def chosen_by(data: Dataset, column: str) -> Dataset:
    """The log with this column as what was chosen."""
    return replace(data, log=replace(data.log, clicked=getattr(data.log, column)))


def knn(policy, data: Dataset, before: Impressions, had: sp.csr_matrix, users: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """(V, 100) item-kNN's slates for users with their last choices as history."""
    ordered = before.by_user()
    starts = np.searchsorted(ordered.user, users, side="right")
    length = policy.history_length
    found = []
    for begin in range(0, len(users), 256):
        end, u = starts[begin : begin + 256], users[begin : begin + 256]
        index = end[:, None] - length + np.arange(length)
        inside = (index >= 0) & (ordered.user[np.maximum(index, 0)] == u[:, None])
        contexts = np.where(inside, ordered.item[np.maximum(index, 0)], 0)
        rows = had[u]
        wide = int(np.diff(rows.indptr).max())
        exclude = np.zeros((len(u), wide), np.int32)
        for i in range(len(u)):
            items = rows.indices[rows.indptr[i] : rows.indptr[i + 1]]
            exclude[i, : len(items)] = items
        requests = plain_requests(contexts, data.catalogue.size, u, exclude)
        found.append(policy.recommend(requests, 100, Draws(0, requests.users, requests.sessions)).items)
    return np.concatenate(found)


def report(name: str, ten: np.ndarray, hundred: np.ndarray) -> None:
    error = np.sqrt(ten.mean() * (1 - ten.mean()) / len(ten))
    print(f"{name}: HR@10 {ten.mean():.3f} (s.e. {error:.3f}), HR@100 {hundred.mean():.3f}")


if __name__ == "__main__":
    main()
