"""What offline evaluation says of the contenders, beside what the simulated users say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Offline:
    """A contender.

    Attributes:
        ndcg10: of the next click of users of the log, all items ranked; None where it is not known.
            users: how many.
        auc: of clicks on what was shown, foretold; None where the policy says no probabilities.
        recalled: share of the best slates by answers that stands among what the arm recalls; None
            where answers order nothing, or all items.
        simulated: the primary metric of its arm. lift, true_lift: against the control; None where
            there is none.
    """

    arm: str
    ndcg10: float | None
    users: int
    auc: float | None
    recalled: float | None
    simulated: float
    lift: float | None
    true_lift: float | None


def offline_of(
    training: dict[str, Any],
    arms: Sequence[str],
    simulated: dict[str, float],
    lifts: dict[str, float],
    true_lifts: dict[str, float],
) -> list[Offline]:
    """Of these arms, in their order; none where a run does not tell.

    Args:
        training: of a manifest: arm -> `offline` among others.
        simulated: arm -> primary metric. lifts, true_lifts: arm -> against the control.
    """
    rows = []
    for arm in arms:
        told = training.get(arm, {}).get("offline")
        if told is not None and arm in simulated:
            figures = told["ndcg10"], int(told["users"]), told["auc"], told.get("recalled")
            online = simulated[arm], lifts.get(arm), true_lifts.get(arm)
            rows.append(Offline(arm, *figures, *online))
    return rows
