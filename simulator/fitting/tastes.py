"""What appeals to whom beyond levels, from what was chosen: factors, the profile of a user's
choices, and how close an item is to the latest of them; or the scores of another user model.

Each is learned twice: by all choices, for the users; and by choices without those of a fold, for
the rows of that fold, from which it is learned how much clicks follow of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from policies.draws import generator
from policies.log import Dataset
from simulator.fitting.alternatives import OF_FACTORS, cross_scored, full_table, make_scorer
from simulator.fitting.closeness import chosen_before, closeness, near_vectors
from simulator.fitting.factors import (
    CrossFits,
    Taste,
    TasteSettings,
    choices,
    cross_fits,
    full_taste,
    profile,
    reliabilities,
    unit_of,
)
from simulator.users.choice_model import Parameter

LEAST_RELIABLE = 0.05  # of a taste that clicks may follow
TASTES = ("taste", "profile")  # by factors, by the profile of a user's choices


@dataclass(frozen=True)
class Tastes:
    """Tastes of a log.

    Attributes:
        parts: of TASTES, standardised: a standard deviation of 1 over random pairs; {} where
            another user model scores pairs.
        columns: name -> (rows,) of the log's rows by fits that have not seen them.
        units: of TASTES, what they were multiplied by. reliability: of TASTES, share of their
            variance that another log would find again.
        near: vectors of the items that closeness is measured by; None with a table.
        table: (U, N + 1) scores of all pairs, or None.
    """

    parts: dict[str, Taste]
    columns: dict[str, np.ndarray]
    units: dict[str, float] = field(default_factory=dict)
    reliability: dict[str, float] = field(default_factory=dict)
    near: np.ndarray | None = None
    table: np.ndarray | None = None

    def parameters(self) -> dict[str, Parameter]:
        """What of it is a parameter whatever the clicks say."""
        if not self.parts:
            why = "scores do not differ where clicks could follow them"
            return {"taste_scale": Parameter(0.0, "assumed", why)}
        why = "correlation of two halves, stepped up to the whole"
        return {
            f"{name}_reliability": Parameter(self.reliability[name], "estimated", why)
            for name in self.parts
        }


def tastes_of(
    data: Dataset,
    kind: str,
    seed: int,
    rng: np.random.Generator,
    say: Callable[[str], None],
    s: TasteSettings | None = None,
) -> Tastes:
    """The tastes of a log, by a kind of user model (`alternatives.KINDS`).

    Args:
        s: of the factors.
    """
    say("users: taste, from what was chosen")
    if kind not in OF_FACTORS:
        return _of_table(data, kind, rng, say)
    factors = full_taste(data, seed, s)
    user, item, _ = choices(data)
    parts = {"taste": factors, "profile": profile(factors, user, item)}
    known = dict(zip(TASTES, reliabilities(data, rng, s), strict=True))
    units = {name: unit_of(part, generator("unit of taste", seed)) for name, part in parts.items()}
    scaled = {name: part.scaled(units[name]) for name, part in parts.items()}
    if "skips" not in data.has:
        return Tastes(scaled, {}, units, known)
    fits, before = cross_fits(data, rng), chosen_before(data)
    columns = rows_apart(data, fits, units)
    for name in TASTES:
        if known[name] < LEAST_RELIABLE:  # another log of the same users would not find it again
            columns[name] = np.zeros(len(data.log))
    columns["closeness"] = _closeness_of_rows(data, before, fits, seed)
    near = near_vectors(factors, before, generator("unit of closeness", seed))
    return Tastes(scaled, columns, units, known, near)


def rows_apart(data: Dataset, fits: CrossFits, units: dict[str, float]) -> dict[str, np.ndarray]:
    """(rows,) of each of TASTES by fits that have not seen the row."""
    return {
        name: units[name] * fits.scores(data, of)
        for name, of in zip(TASTES, (fits.tastes, fits.profiles()), strict=True)
    }


def _closeness_of_rows(data: Dataset, before: np.ndarray, fits: CrossFits, seed: int) -> np.ndarray:
    """(rows,) closeness of each row to what was chosen before it, by a fit that has not seen it."""
    close = np.zeros(len(data.log))
    for k, taste in enumerate(fits.tastes):
        here = fits.fold == k
        near = near_vectors(taste, before[here], generator("unit of closeness", seed, k))
        close[here] = closeness(near, before[here], data.log.item[here][:, None])[:, 0]
    return close


def _of_table(
    data: Dataset, kind: str, rng: np.random.Generator, say: Callable[[str], None]
) -> Tastes:
    """Scores of all pairs by another user model."""
    crossed = cross_scored(data, kind, rng)
    say(f"users: {kind}, a table of {data.n_users} users by {data.catalogue.size} items")
    table = full_table(make_scorer(data, kind, rng), data.n_users)
    sd = float(crossed.std())
    unit = 1 / sd if sd > 1e-12 else 0.0
    np.multiply(table, np.float32(unit), out=table, casting="unsafe")
    return Tastes({}, {"taste": unit * crossed}, table=table)
