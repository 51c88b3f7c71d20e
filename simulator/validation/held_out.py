"""Held-out slates, answered by the fitted users: what they would have done with what
the log shows.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import expit

from policies.draws import generator
from policies.log import Dataset, Impressions
from simulator.chains.crossed_effects import Curve
from simulator.fitting.closeness import Chosen
from simulator.fitting.satiation import Exposures, repeats
from simulator.users.choice_model import ChoiceModel
from simulator.users.state import RECENT

Replay = dict[str, np.ndarray]


class Plausible(Protocol):
    """Draws of users: a `Posterior`, or somebody who looks like one."""

    @property
    def plain(self) -> ChoiceModel: ...

    def __len__(self) -> int: ...

    def model(self, k: int) -> ChoiceModel: ...

    def variants(self, model: ChoiceModel, name: str, k: int) -> list[ChoiceModel]: ...


FEEDBACK = {"long view": "long_view", "like": "like", "hate": "hate"}  # feedback: parameter


def seen(model: ChoiceModel, data: Dataset, log: Impressions, slate_size: int) -> np.ndarray:
    """(rows,) probability that each row was looked at: by its slot, or that of an average slot."""
    if "slots" in data.has:
        return model.examination[np.minimum(log.slot, len(model.examination) - 1)]
    return np.full(len(log), model.examination[:slate_size].mean())


@dataclass(frozen=True)
class Past:
    """What rows come after.

    Attributes:
        exposures: (rows,) to the category, by the logarithm of the half-life. repeats: (rows,)
            recent showings of the item.
    """

    exposures: Curve
    repeats: np.ndarray

    @staticmethod
    def of(log: Impressions, model: ChoiceModel, weight: np.ndarray, rows: slice) -> "Past":
        """Of some rows of a log, each row having been looked at with the probability `weight`."""
        curve = Exposures(log, model.category, weight).curve(
            float(np.log(model["satiation_half_life_h"]))
        )
        return Past(replace(curve, columns=curve.columns[:, rows]), repeats(log, RECENT)[rows])


def past_of(model: ChoiceModel, data: Dataset, late: Impressions) -> Past | None:
    """Of the rows of `late`, the early rows behind; None where the log has not all that
    was seen.
    """
    if not {"sessions", "skips"} <= data.has:
        return None
    both = Impressions.concat([data.log, late])
    examination = model.examination[np.minimum(both.slot, len(model.examination) - 1)]
    return Past.of(both, model, examination, slice(len(data.log), None))


def fatigue_of(model: ChoiceModel, past: Past | None) -> np.ndarray | float:
    """(rows,) logits that satiation and repeats take, by this draw's half-life."""
    if past is None:
        return 0.0
    exposures = past.exposures.column(float(np.log(model["satiation_half_life_h"])))
    fatigue: np.ndarray = model["satiation"] * exposures + model["repeat_fatigue"] * past.repeats
    return fatigue


def chosen_until(data: Dataset, late: Impressions, rows: Impressions) -> np.ndarray:
    """(rows, LAST) what users chose before these rows, in the log and in the late days."""
    chosen = Chosen.of(data, late)
    return chosen.latest(rows.user, chosen.before(rows.user, rows.time))


def appeal_after(
    model: ChoiceModel, user: np.ndarray, item: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """(rows,) logits of a click of rested users, who chose `chosen` (rows, LAST) before."""
    x = model.appeal(user, item[:, None])
    model.come_closer(np.arange(len(user)), np.ascontiguousarray(item)[:, None], x, chosen)
    return x[:, 0]


def answers_of(
    fitted: Plausible, data: Dataset, late: Impressions, slate_size: int
) -> tuple[Replay, Replay, dict[str, float]]:
    """(rows,) probability of each feedback, the users being shown the late slates: by all draws,
    and by one of them.

    And by feedback the standard deviation over draws of the logarithm of its rate: how little the
    early days say of it.
    """
    total: Replay = {}
    rates: dict[str, list[float]] = {}
    past, looked = past_of(fitted.plain, data, late), seen(fitted.plain, data, late, slate_size)
    chosen = chosen_until(data, late, late)
    for k in range(len(fitted)):
        model = fitted.model(k)
        x = appeal_after(model, late.user, late.item, chosen).astype(float)
        x -= fatigue_of(model, past)
        click = looked * expit(x)
        one, mean = {"click": click}, {"click": click}
        for name, parameter in FEEDBACK.items():
            draws = [
                _given(m, parameter, late, x, click, looked)
                for m in fitted.variants(model, parameter, k)
            ]
            one[name], mean[name] = draws[0], np.mean(draws, axis=0)
        for name, p in mean.items():
            total[name] = total.get(name, 0.0) + p
            rates.setdefault(name, []).append(float(one[name].mean()))
    unsure = {name: float(np.log(np.maximum(x, 1e-12)).std()) for name, x in rates.items()}
    return {name: p / len(fitted) for name, p in total.items()}, one, unsure


def answered(
    model: ChoiceModel, late: Impressions, one: Replay, looked: np.ndarray, seed: int
) -> Impressions:
    """The late rows as these users would have answered them: clicks, long views and watch times
    drawn.

    Args:
        looked: (rows,) probability that each was looked at.
    """
    rng = generator("answered", seed)
    clicked = rng.random(len(late)) < one["click"]
    given = one["long view"] / np.maximum(one["click"], 1e-12)
    long_view = clicked & (rng.random(len(late)) < given)
    watched = np.zeros(len(late), np.float32)
    kinds = [("watch_long", long_view), ("watch_short", clicked & ~long_view)]
    if "watch_none_share" in model.parameters:
        # given that it was not clicked
        looked = (looked - one["click"]) / np.maximum(1 - one["click"], 1e-12)
        kinds.append(
            ("watch_none", ~clicked & (rng.random(len(late)) < looked * model["watch_none_share"]))
        )
    for kind, part in kinds:
        watched[part] = model.seconds(kind, late.item[part], rng.normal(size=int(part.sum())))
    return replace(late, clicked=clicked, long_view=long_view, watched=watched)


def day_to_day(happened: np.ndarray, user: np.ndarray, day: np.ndarray) -> float:
    """Standard deviation of the logarithm of a rate from day to day, beyond chance; 0 where days do
    not tell.

    By moments (DerSimonian and Laird, 1986); the rows of one user on one day count as one
    observation.
    """
    days, row = np.unique(day, return_inverse=True)
    n, yes = np.bincount(row), np.bincount(row, happened)
    if len(days) < 3 or (yes < 1).all():
        return 0.0
    rate = yes / n
    kept = (yes >= 5) & (yes < n)
    if kept.sum() < 3:
        return 0.0
    of, place = np.unique(np.column_stack([row, user]), axis=0, return_inverse=True)
    residual = np.bincount(place.ravel(), happened - rate[row])
    # Never less than the binomial variance: a day of one user has no residual of its own.
    variance = (
        np.maximum(np.bincount(of[:, 0], residual**2, minlength=len(days)) / n, rate * (1 - rate))
        / n
    )
    x, w = np.log(rate[kept]), rate[kept] ** 2 / variance[kept]
    centre = (w @ x) / w.sum()
    excess = (w @ (x - centre) ** 2) - (kept.sum() - 1)
    return float(np.sqrt(max(excess / (w.sum() - (w @ w) / w.sum()), 0.0)))


def _given(
    model: ChoiceModel,
    name: str,
    late: Impressions,
    x: np.ndarray,
    click: np.ndarray,
    looked: np.ndarray,
) -> np.ndarray:
    """(rows,) probability of a long view, a like or a hate, with a click or without."""
    logit = model.feedback_logit(name, late.user, late.item, x)
    probability: np.ndarray = click * expit(logit)
    if f"{name}_without_click" in model.parameters:
        probability += (looked - click) * expit(
            logit + model[f"{name}_without_click"] - model[name]
        )
    return probability
