"""What offline evaluation says of a policy on the log that it learns from before a test."""

from typing import Any

import numpy as np

from policies.answers.measures import auc
from policies.base import Policy, plain_requests
from policies.calls import foretell, train
from policies.catalogue import Catalogue
from policies.draws import generator
from policies.exploring import SETTINGS as OF_ANY
from policies.exploring import without_arm
from policies.log import Impressions
from policies.neural.next_items import best, picked
from policies.neural.sequences import Sequences, last_items, split_by_time
from policies.neural.sequential import Sequential
from policies.neural.training import ndcg_of
from policies.registry import base_name, make

LATE = 0.1  # of the log's clicks, the last ones
MOST_USERS = 1000
MOST_ROWS = 2_000_000  # of a log on which policies are trained once more for it
CUT = 10


def offline_figures(
    arm: str,
    policy: Policy,
    settings: dict[str, Any],
    log: Impressions,
    catalogue: Catalogue,
    slate_size: int,
    seed: int,
) -> dict[str, Any] | None:
    """NDCG@10 of the first late click of up to MOST_USERS users, all items ranked and those
    clicked before left out; AUC of clicks on late rows that were shown, where the policy foretells
    them; and where a network recalls what answers order, how much of their best slates is recalled.

    Networks keep a late part of the log for validation, and are asked as they are; others are
    trained once more without it.
    """
    early, late = split_by_time(log, LATE)
    if not early.clicked.any() or not late.clicked.any() or len(np.unique(early.user)) < 2:
        return None
    policy = without_arm(policy)
    network = isinstance(policy, Sequential) and policy.validation_share == LATE
    if not network:
        if len(log) > MOST_ROWS:
            return None
        own = {name: value for name, value in settings.items() if name not in OF_ANY}
        policy = make(base_name(arm), own)
        train(arm, "fit", policy, early, catalogue, generator("offline", seed, arm))
    before, after = Sequences.of(early), Sequences.of(late)
    users = np.intersect1d(before.users, after.users)
    if len(users) > MOST_USERS:
        users = np.sort(generator("offline users", seed).choice(users, MOST_USERS, replace=False))
    ndcg = recalled = None
    if len(users):
        targets = after.items[after.starts[np.searchsorted(after.users, users)]]
        history = Sequences(users, *picked(before, np.searchsorted(before.users, users)))
        ndcg = ndcg_of(best(policy, catalogue.size, users, history, CUT), targets)
        if isinstance(policy, Sequential):
            contexts = last_items(history, users, policy.history_length)
            requests = plain_requests(contexts, catalogue.size, users)
            recalled = policy.recall_of_best(requests, slate_size)
    found = _auc(arm, policy, network, late, catalogue)
    return {"ndcg10": ndcg, "users": len(users), "auc": found, "recalled": recalled}


def _auc(
    arm: str, policy: Policy, network: bool, late: Impressions, catalogue: Catalogue
) -> float | None:
    if network and isinstance(policy, Sequential):
        model = policy.answers_  # as it foretold the late part before it learned from it
        found = np.nan if model is None else model.foretold.get("clicked", np.nan)
        return None if np.isnan(found) else float(found)
    shown = late.rows(late.shown).by_user()
    told = foretell(arm, policy, shown, catalogue).get("clicked") if len(shown) else None
    if told is None:
        return None
    found = auc(told, shown.clicked.astype(float))
    return None if np.isnan(found) else float(found)
