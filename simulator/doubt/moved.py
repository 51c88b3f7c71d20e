"""What a log does not tell of its users, moved to the ends of its range, one number at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from policies.draws import generator
from policies.log import Dataset
from policies.sources.levels import RANDOM_OVER_LOGGED, by_propensity, is_generic
from simulator.doubt.worlds import MOST_HIDDEN, MOST_LOOKED_AT
from simulator.fitting.examination import SLOTS
from simulator.fitting.posterior import RESIDUAL_WIDTH, stretched
from simulator.fitting.visits import PUBLISHED
from simulator.users.choice_model import ChoiceModel, Parameter, is_matrix

AS_FITTED, STAYING, RETURNING = "as fitted", "staying", "returning"
MOST_SATIATION = 0.1  # logits per exposure, where the log does not tell
STEEPEST_SLOTS = 0.5  # exponent of examination, where the log does not tell: .12 is assumed
SURE = 1.96


@dataclass(frozen=True)
class Moved:
    """Users of whom one number is another.

    Attributes:
        number: its name. end: where it was moved, in words. random: click rate of random slates
            that they are to have; None = as before.
    """

    number: str
    end: str
    model: ChoiceModel
    random: float | None = None

    @property
    def settles(self) -> bool:
        """Whether random slates would be clicked at another rate."""
        return self.number not in (AS_FITTED, STAYING, RETURNING)


def moved_users(model: ChoiceModel, data: Dataset, k: int, seed: int) -> Iterator[Moved]:
    """The users as they are, then each number at the ends of its range; those that the log tells by
    1.96 standard errors, no number that somebody gave.
    """
    yield Moved(AS_FITTED, "", model)
    yield from _random_levels(model, data, k)
    if model.table is None:
        yield Moved(
            "taste that the log does not tell",
            f"{MOST_HIDDEN:g} logits, not 0",
            with_hidden_taste(model, MOST_HIDDEN, seed),
        )
    yield from _strength(model)
    yield from _levels_of_choices(model)
    yield from _tiring(model)
    if model.provenance.get("examination", ("", ""))[0] == "assumed":
        for exponent, words in ((0.0, "all slots"), (STEEPEST_SLOTS, "the first slots")):
            seen = np.arange(1, SLOTS + 1) ** -exponent
            words = f"{words} looked at (slot ** -{exponent:g})"
            yield Moved("examination", words, replace(model, examination=seen))
    yield from _slope(model, "leave_satisfaction", STAYING)
    yield from _slope(model, "return_satisfaction", RETURNING)


def _random_levels(model: ChoiceModel, data: Dataset, k: int) -> Iterator[Moved]:
    """The click rate of uniformly random slates, unless somebody says it."""
    if not is_generic(data) or is_matrix(model):
        return
    level = data.calibration["random_click_rate"][0]
    told = by_propensity(data) if "skips" in data.has else None
    logged = float(data.log.clicked.mean())
    if "skips" not in data.has:
        logged = PUBLISHED["logged_click_rate"][0]
    if told is not None:
        ends = [level - SURE * told[1], level + SURE * told[1]]
    else:
        ends = [min(RANDOM_OVER_LOGGED) * logged, max(RANDOM_OVER_LOGGED) * logged]
    most = MOST_LOOKED_AT * float(model.examination[:k].mean())
    for end in ends:
        rate = float(np.clip(end, 1e-4, most))
        yield Moved("random level", f"{rate:.3g}, not {level:.3g}", model, rate)


def with_hidden_taste(model: ChoiceModel, sd: float, seed: int) -> ChoiceModel:
    """With a further taste of this standard deviation in logits over random pairs; what was fitted
    is made steeper, as the fit knew nothing of it.
    """
    rng, by = generator("hidden taste", seed), np.float32(stretched(sd))
    users = rng.normal(size=(model.n_users, RESIDUAL_WIDTH)) * sd / RESIDUAL_WIDTH**0.5
    items = rng.normal(size=(model.n_items + 1, RESIDUAL_WIDTH))
    items[0] = 0
    return replace(
        model,
        user_level=by * model.user_level,
        item_level=by * model.item_level,
        user_taste=np.concatenate([by * model.user_taste, users], axis=1).astype(np.float32),
        item_taste=np.concatenate([model.item_taste, items], axis=1).astype(np.float32),
    )


def _strength(model: ChoiceModel) -> Iterator[Moved]:
    """How far users follow the taste and the closeness that were fitted: by 1.96 standard errors of
    the slopes, both the same way.
    """
    known = {
        name: number
        for name in ("profile_scale", "taste_scale", "closeness")
        if (number := model.parameters.get(name)) is not None and number.value > 0 and number.error
    }
    scales = [known[name] for name in ("profile_scale", "taste_scale") if name in known]
    if not known or model.table is not None:
        return
    strongest = max(scales, key=lambda number: number.value, default=None)
    for sign, words in ((-1, "weaker"), (1, "stronger")):

        def by(number: Parameter | None, sign: int = sign) -> float:
            if number is None:
                return 1.0
            return max(1 + sign * SURE * (number.error or 0.0) / number.value, 0.0)

        moved, of_taste, near = model, by(strongest), known.get("closeness")
        users = model.user_taste.copy()
        users[:, :-RESIDUAL_WIDTH] *= np.float32(of_taste)
        if near is not None:
            moved = _with(moved, "closeness", near.value * by(near))
        far = max(abs(of_taste - 1), abs(by(near) - 1))
        said = f"{words}, by {100 * far:.0f} % at most"
        yield Moved("strength of taste", said, replace(moved, user_taste=users))


def _levels_of_choices(model: ChoiceModel) -> Iterator[Moved]:
    """How far levels follow popularity, of a log without skips: from not at all to as far as
    choices do, exposure and all.
    """
    slope, most = model.optional("level_slope", 0.0), model.optional("choice_slope", 0.0)
    if slope <= 0:
        return
    for end in (0.0, most):
        levels = (model.item_level * (end / slope)).astype(np.float32)
        yield Moved(
            "levels by popularity",
            f"slope {end:.2g}, not {slope:.2g}",
            replace(model, item_level=levels),
        )


def _tiring(model: ChoiceModel) -> Iterator[Moved]:
    number = model.parameters["satiation"]
    told = number.status == "estimated" and number.error is not None
    low, high = 0.0, MOST_SATIATION
    if told:
        assert number.error is not None
        low = max(number.value - SURE * number.error, 0.0)
        high = number.value + SURE * number.error
    for end in (low, high):
        if end != number.value:
            words = f"{end:.2g} logits per exposure, not {number.value:.2g}"
            yield Moved("satiation", words, _with(model, "satiation", end))


def _slope(model: ChoiceModel, name: str, words: str) -> Iterator[Moved]:
    """What satisfaction does: by its standard errors, or nothing and twice as much."""
    number = model.parameters[name]
    ends = [0.0, 2 * number.value]
    if number.status == "estimated" and number.error is not None:
        ends = [number.value - SURE * number.error, number.value + SURE * number.error]
    for end in ends:
        if end != number.value:
            said = f"satisfaction {end:.2g}, not {number.value:.2g}"
            yield Moved(words, said, _with(model, name, end))


def _with(model: ChoiceModel, name: str, value: float) -> ChoiceModel:
    return model.with_parameters(**{name: Parameter(float(value), "assumed", "moved")})
