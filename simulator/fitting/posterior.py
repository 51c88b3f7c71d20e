"""The posterior of users from a log that holds skips: crossed effects and taste of what was shown,
as draws.

A log's policy selects what it shows. Among its slates the levels and the slope of the taste are
those of any slates as long as it selects in proportion to the exponential of how relevant it thinks
an item is; what it knew and the log does not tell moves all of its slates by one constant (an
exponential tilt moves the mean of what it weighs and leaves everything else alone). That constant
is `selection`; no log of one policy identifies it, and it is set so that uniformly random slates
click at their published rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.special import expit

from policies.common.threads import side_by_side
from policies.draws import generator
from policies.log import Dataset
from simulator.chains.crossed_effects import (
    Chains,
    CrossedEffects,
    CrossedEffectsDraws,
    Curve,
    Rows,
    fit_crossed_effects,
    sample_crossed_effects,
)
from simulator.fitting.choices.positive_only import LEVEL_SLOPE, Choices, strengths
from simulator.fitting.closeness import with_missed
from simulator.fitting.examination import ATTENUATION, Examination
from simulator.fitting.factors import Taste
from simulator.fitting.tastes import LEAST_RELIABLE
from simulator.users.choice_model import ChoiceModel, Parameter

OF_FACTORS = (
    "matrix factorisation and the profile of a user's choices, scaled to what unseen clicks follow"
    " of them; the rest drawn"
)
OF_CHOICES = "the next choice among all items"
OF_TABLE = "scores of all pairs by the user model, scaled to what unseen clicks follow of them"
HABIT = "exposed"  # column of the clicks: how much of the category the policy has shown the user
OF_HABITS = "share of each category among what the log shows a user, times what clicks follow of it"
# logits: less is what a taste leaves that was not found
LEAST_SLOPE = {"closeness": 0.06}
SCALES = {"taste": "taste_scale", "profile": "profile_scale"}  # column -> parameter
CLOSE = {"closeness": "closeness"}
TASTE_SLOPE = 1.0  # prior sd of the slope of a taste that has a standard deviation of 1
LEAST_VARIED = 1e-4  # of a column: what varies less (a taste that found nothing) has no slope
TIRING = ("satiation", "repeat_fatigue")
DRAWS_OF_CHOICES = 200
RESIDUAL_WIDTH = 8  # dimensions of the part of a taste that the log leaves open


@dataclass(frozen=True)
class Traits:
    """What is known of users and items beside their feedback: how often they are in the log, and
    were before it.

    Attributes:
        user: name -> (U,), item: name -> (N + 1,); standardised.
    """

    user: dict[str, np.ndarray]
    item: dict[str, np.ndarray]

    @staticmethod
    def of(data: Dataset) -> "Traits":
        log, past = data.log, data.history
        # How often a user is in the log would say more, but not what the same user does next: heavy
        # use comes and goes.
        users = {"choices_of_user": past.user}
        size = data.catalogue.size + 1
        items = {
            "rows_of_item": _counted(
                log.item, size, 1, least=1
            ),  # an item without rows was not seen to differ from one
            "choices_of_item": _counted(past.item, size, 1),
        }
        return Traits(
            {
                name: z
                for name, index in users.items()
                if (z := _counted(index, data.n_users)).any()
            },
            {name: z for name, z in items.items() if z.any()},
        )

    def columns(self, user: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
        """As columns of rows."""
        return {name: z[user] for name, z in self.user.items()} | {
            name: z[item] for name, z in self.item.items()
        }


def _counted(index: np.ndarray, size: int, first: int = 0, least: int = 0) -> np.ndarray:
    """(size,) logarithm of the counts, mean 0 and sd 1; all 0 where they do not vary.

    Args:
        first: ids below are padding. least: what smaller counts are taken for.
    """
    z = np.log1p(np.maximum(np.bincount(index, minlength=size), least).astype(float))
    z[:first] = z[first:].mean()
    sd = z[first:].std()
    return (z - z[first:].mean()) / sd if sd > 1e-9 else np.zeros(size)


@dataclass(frozen=True)
class FeedbackPosterior:
    """Draws of one kind of feedback, a click or what follows it, with what users and
    items bring.
    """

    sampled: CrossedEffectsDraws
    traits: Traits
    weight: np.ndarray  # (U,) rows per user: the average user is the one that an average row has
    unsure: float = 0.0  # standard deviation of the level beyond that of the draws
    # variance of what its own column of appeal does not know of the appeal
    beyond: float = 0.0
    # column -> factor on the error of its slope
    wider: dict[str, float] = field(default_factory=dict)

    def part(self, k: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Of draw k: intercept, (U,) user levels around 0 over rows, (N + 1,) item levels around 0
        over the catalogue.
        """
        user, item = self.sampled.user[k].astype(float), self.sampled.item[k].astype(float)
        for name, value in zip(self.sampled.names, self.sampled.fixed[k], strict=True):
            if name in self.traits.user:
                user = user + value * self.traits.user[name]
            elif name in self.traits.item:
                item = item + value * self.traits.item[name]
        at_user, at_item = float(user @ self.weight / self.weight.sum()), float(item[1:].mean())
        item = item - at_item
        item[0] = 0.0
        return (
            float(self.sampled.fixed[k, 0]) + at_user + at_item,
            (user - at_user).astype(np.float32),
            item.astype(np.float32),
        )

    @cached_property
    def intercepts(self) -> np.ndarray:
        """(draws,) of the average user and item, whose spread is that of the average and not of a
        bare intercept.
        """
        return np.array([self.part(k)[0] for k in range(len(self.sampled))])

    def value(self, k: int, name: str) -> float:
        """Coefficient of draw k; 0 where the column does not exist."""
        return (
            float(self.sampled.fixed[k, self.sampled.names.index(name)])
            if name in self.sampled.names
            else 0.0
        )

    def mean(self, name: str) -> float:
        """Coefficient, the mean over draws; 0 where the column does not exist."""
        return self.sampled.mean(name) if name in self.sampled.names else 0.0

    def error(self, name: str) -> float:
        """Standard error of a slope."""
        return self.sampled.error(name) * self.wider.get(name, 1.0)

    def logits(self, user: np.ndarray, item: np.ndarray, x: dict[str, np.ndarray]) -> np.ndarray:
        """(rows,) posterior mean of the logit."""
        s = self.sampled
        logits = s.mean("") + s.user.mean(axis=0)[user].astype(float) + s.item.mean(axis=0)[item]
        for name, column in (self.traits.columns(user, item) | x).items():
            if name in s.names:
                logits = logits + s.mean_of_start(name) * column
        return logits


def rows_of(
    data: Dataset,
    traits: Traits,
    y: np.ndarray,
    which: np.ndarray | slice,
    x: dict[str, np.ndarray],
    examination: np.ndarray | None,
    curve: Curve | None = None,
) -> Rows:
    """The rows of the log as the crossed effects want them; columns that do not vary are left out.

    Args:
        y: (rows,) bool. which: of the rows. x: name -> (rows,). examination: (rows,) or None.
            curve: of a column, over all rows.
    """
    log = data.log
    user, item = log.user[which].astype(np.int64), log.item[which].astype(np.int64)
    columns = {**traits.columns(user, item), **{name: column[which] for name, column in x.items()}}
    kept = {name: column for name, column in columns.items() if np.ptp(column) > LEAST_VARIED}
    seen = None if examination is None else examination[which]
    curve = curve if curve is not None and curve.name in kept else None
    return Rows(
        y[which],
        user,
        item,
        data.n_users,
        data.catalogue.size,
        kept,
        seen,
        curve,
        dict.fromkeys((*SCALES, *CLOSE), TASTE_SLOPE),
        {
            name: (group, z)
            for group, own in enumerate((traits.user, traits.item))
            for name, z in own.items()
            if name in kept
        },
    )


def sample(
    data: Dataset,
    y: np.ndarray,
    which: np.ndarray | slice,
    x: dict[str, np.ndarray],
    examination: np.ndarray | None,
    name: str,
    chains: Chains,
    curve: Curve | None = None,
) -> FeedbackPosterior:
    """Draws of crossed effects and slopes of one kind of feedback; arguments as for `rows_of`."""
    traits = Traits.of(data)
    rows = rows_of(data, traits, y, which, x, examination, curve)
    weight = np.bincount(data.log.user, minlength=data.n_users).astype(float)
    draws = -(-chains.draws_for(rows) // chains.number)
    walks = [
        partial(
            sample_crossed_effects,
            rows,
            generator("levels", name, chains.seed, *key),
            draws,
            chains=chains,
        )
        for key in ((), *((c,) for c in range(1, chains.number)))
    ]
    found = walks[0]() if len(walks) == 1 else CrossedEffectsDraws.together(side_by_side(walks))
    return FeedbackPosterior(found, traits, weight)


def pilot_fit(
    data: Dataset, tastes: dict[str, np.ndarray], examination: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(rows,) logit of a click by crossed effects and tastes, by a quick fit: what examination and
    satiation are held against; and the tastes that clicks follow.

    A taste that clicks do not follow, or go against, would only take up the errors of another one.

    Args:
        tastes: name -> (rows,) columns.
    """
    while True:
        rows = rows_of(data, Traits.of(data), data.log.clicked, slice(None), tastes, examination)
        pilot: CrossedEffects = fit_crossed_effects(rows, iterations=20, tolerance=0.01)
        left = {
            name: column
            for name, column in tastes.items()
            if pilot.fixed.get(name, 0.0) > LEAST_SLOPE.get(name, 0.0)
        }
        if len(left) == len(tastes):
            return pilot.logits(rows.user, rows.item, rows.x), left
        tastes = left


@dataclass(frozen=True)
class Posterior:
    """What a log says of its users, and how sure that is.

    Attributes:
        plain: all that is not drawn.
        tastes, reliability: `parts` and `reliability` of `Tastes`; {} where the model has a table
            of all pairs.
        feedback: by name (click, long_view, like, hate), of which `click` is there if any is.
        habits: (U, C) how much of each category the log's policy has shown each user, or None; a
            part of the taste follows it.
        without_click: name -> log of all such feedback over that of clicked rows, where simulated
            ones need a click.
        unseen: variance of what makes users click what they are shown and the logits do not know,
            and its standard error, in squared logits; None where the log does not tell.
        examination: how likely each slot is looked at; None where nothing was fitted.
        drifted: how much a click moves taste, and the standard error, whether or not it can be told
            from 0.
        near, last_chosen: item_near and last_chosen of `ChoiceModel`; None = nothing is close.
        choices: what the next choice says, of a log without skips. rates: click rates of random
            slates and, where somebody says it, of the log's, once looked at.
        hardly_shown: (N + 1,) bool, items whose level is that of the others of their category; None
            = every item has its own.
    """

    plain: ChoiceModel
    tastes: dict[str, Taste]
    reliability: dict[str, float]
    seed: int
    feedback: dict[str, FeedbackPosterior] = field(default_factory=dict)
    without_click: dict[str, float] = field(default_factory=dict)
    habits: np.ndarray | None = None
    unseen: tuple[float, float] | None = None
    examination: Examination | None = None
    drifted: tuple[float, float] | None = None
    hardly_shown: np.ndarray | None = None
    near: np.ndarray | None = None
    last_chosen: np.ndarray | None = None
    choices: Choices | None = None
    rates: tuple[float, float | None] = (0.0, None)

    def __len__(self) -> int:
        if self.choices is not None:
            return DRAWS_OF_CHOICES
        return len(self.feedback["click"].sampled) if self.feedback else 1

    @cached_property
    def residual_sd(self) -> float:
        """Standard deviation over all pairs of the taste that the log leaves open."""
        if not self.tastes:
            return 0.0
        click = self.feedback["click"]
        slopes = [max(click.mean(name), 0.0) for name in self.tastes]
        return max(self._missed(slopes) ** 2 - self._exposed_sd(click.mean(HABIT)) ** 2, 0.0) ** 0.5

    def _missed(self, slopes: Sequence[float]) -> float:
        """Standard deviation over random pairs of what fitted tastes with these slopes have missed:
        as large as their reliability says.

        A fitted taste is a part signal and a part noise; its slope is what clicks follow of it.
        """
        known = [max(self.reliability[name], LEAST_RELIABLE) for name in self.tastes]
        missed = [slope**2 * (1 / share - 1) for slope, share in zip(slopes, known, strict=True)]
        return float(sum(missed)) ** 0.5

    def _residual_sd(self, k: int) -> float | None:
        """Standard deviation of the taste that draw k leaves open, where answers to the same pair
        tell it.
        """
        if self.unseen is None:
            return None
        variance, error = self.unseen
        return (
            max(
                variance + error * generator("variance of the spare taste", self.seed, k).normal(),
                0.0,
            )
            ** 0.5
        )

    @property
    def shown(self) -> tuple[float, float, float]:
        """Variance of what is unknown of a shown item's appeal, its standard error, and what it
        makes of the slopes.

        Where the log does not tell, half of what is open over all pairs, give or take the other
        half: a policy that knows more than the log tells leaves less to chance.
        """
        if self.unseen is not None:
            return *self.unseen, stretched(self.unseen[0] ** 0.5)
        return self.residual_sd**2 / 2, self.residual_sd**2 / 12**0.5, stretched(self.residual_sd)

    def _exposed_sd(self, slope: float) -> float:
        """Standard deviation over random pairs of the taste that exposures tell."""
        if self.habits is None:
            return 0.0
        rng, category = (
            generator("told by exposures", self.seed),
            self.plain.category.astype(np.int64),
        )
        user, item = (
            rng.integers(0, len(self.habits), 20_000),
            rng.integers(1, len(category), 20_000),
        )
        return abs(slope) * float(self.habits[user, category[item]].std())

    def model(self, k: int, hidden: float = 0.0, random: float | None = None) -> ChoiceModel:
        """Draw k of the users, as plausible as any other. Their shift is that of the log's own
        slates.

        Args:
            hidden: logits of taste beyond what the log tells or lets one guess, where answers to
                the same pair do not tell how much there is.
            random: click rate of random slates once looked at, of a log without skips; None = as
                assumed.
        """
        if self.choices is not None:
            return self._by_choices(self.choices, k, hidden, random or self.rates[0])
        if not self.feedback:
            return self.plain
        click = self.feedback["click"]
        tastes, residual_sd = self._tastes(click, k, hidden)
        stretch = stretched(residual_sd)
        if self.tastes:
            tastes[0][:, :-RESIDUAL_WIDTH] *= stretch
        shift, user, item = click.part(k)
        if self.hardly_shown is not None:
            item = like_their_category(item, self.plain.category, self.hardly_shown)
        arrays: dict[str, Any] = {
            "user_level": np.float32(stretch) * user,
            "item_level": np.float32(stretch) * item,
            "user_taste": tastes[0],
            "item_taste": tastes[1],
        }
        if self.habits is not None and HABIT in click.sampled.names:
            arrays["user_category"] = np.float32(stretch * click.value(k, HABIT)) * self.habits
        if self.near is not None:
            arrays |= {"item_near": self.near, "last_chosen": self.last_chosen}
        why, error = "average user and item among what was shown", stretch * _sd(click.intercepts)
        parameters = {
            "shift": Parameter(stretch * shift, "estimated", why, error),
            "selection": Parameter(0.0, "assumed", "not yet set"),
            **self._slopes(click, k, SCALES | CLOSE, stretch),
            **self._slopes(click, k, {name: name for name in TIRING}, self.shown[2]),
            **self._half_life(click, k),
        }
        model = replace(
            self.plain,
            parameters=self.plain.parameters | parameters,
            provenance=self.plain.provenance | self._provenance("user_category" in arrays),
            **arrays,
        )
        for name in self.feedback:
            model = model if name == "click" else self._with_feedback(model, name, k)
        return model

    def _by_choices(self, choices: Choices, k: int, hidden: float, random: float) -> ChoiceModel:
        """Draw k of users of whom the log tells what they chose alone."""
        slopes, logged = choices.drawn(self.seed, k), self.rates[1]
        if logged is not None:
            level, why = choices.level_by(slopes, random, logged), "the log's slates click as said"
        elif k:
            level = choices.steepest * float(generator("level of choices", self.seed, k).random())
            why = f"drawn between 0 and the {choices.steepest:.2f} of choices"
        else:
            level = min(LEVEL_SLOPE, choices.steepest)
            why = f"as on KuaiRand-Pure; choices, exposure and all, say {choices.steepest:.2f}"
        missed = slopes[2] * (1 / max(self.reliability["profile"], LEAST_RELIABLE) - 1) ** 0.5
        tastes = with_residual_taste(
            [(choices.profile, slopes[2])], float(np.hypot(missed, hidden)), self.seed, k
        )
        shift = choices.shift(slopes, level, random)
        said = {
            "shift": Parameter(shift, "assumed", "random slates click as assumed"),
            "level_slope": Parameter(level, "assumed", f"of log(1 + choices of an item): {why}"),
            "choice_slope": Parameter(choices.steepest, "estimated", OF_CHOICES),
        }
        status: tuple[Any, str] = "assumed", f"popularity times a slope: {why}"
        return replace(
            self.plain,
            parameters=self.plain.parameters | said | strengths(choices, slopes),
            item_level=(level * choices.popularity).astype(np.float32),
            user_taste=tastes[0],
            item_taste=tastes[1],
            item_near=with_missed(
                choices.near,
                choices.last_chosen,
                choices.reliability,
                generator("spare closeness", self.seed, k),
            ),
            last_chosen=choices.last_chosen,
            provenance=self.plain.provenance
            | {"item_level": status, "taste": ("estimated", OF_CHOICES)},
        )

    def _tastes(
        self, click: FeedbackPosterior, k: int, hidden: float
    ) -> tuple[tuple[np.ndarray, np.ndarray], float]:
        """Tastes of users and items in draw k, and the standard deviation of what is drawn of
        them.
        """
        if not self.tastes:
            return (self.plain.user_taste, self.plain.item_taste), 0.0
        slopes = [max(click.value(k, name), 0.0) for name in self.tastes]
        missed = self._residual_sd(k)
        if missed is None:  # exposures tell a part of it
            told = self._exposed_sd(click.value(k, HABIT))
            missed = float(np.hypot(max(self._missed(slopes) ** 2 - told**2, 0.0) ** 0.5, hidden))
        parts = list(zip(self.tastes.values(), slopes, strict=True))
        return with_residual_taste(parts, missed, self.seed, k), missed

    def _provenance(self, habits: bool) -> dict[str, tuple[Any, str]]:
        """Where the arrays come from."""
        source = "a draw from the posterior of a logistic regression with crossed random effects"
        drawn = ["level", *(name for name in self.feedback if name != "click")]
        arrays: dict[str, tuple[Any, str]] = {
            f"{side}_{name}": ("estimated", source) for name in drawn for side in ("user", "item")
        }
        arrays["taste"] = "estimated", OF_FACTORS if self.tastes else OF_TABLE
        return arrays | ({"user_category": ("estimated", OF_HABITS)} if habits else {})

    def variants(self, model: ChoiceModel, name: str, k: int) -> list[ChoiceModel]:
        """Model k with every k-th further draw of one kind of feedback: rare ones have more draws
        than clicks.
        """
        if name not in self.feedback:
            return [model]
        return [
            self._with_feedback(model, name, j)
            for j in range(k, len(self.feedback[name].sampled), len(self)) or [k]
        ]

    def _with_feedback(self, model: ChoiceModel, name: str, k: int) -> ChoiceModel:
        """Draw k of long views, likes or hates."""
        posterior, parameters = self.feedback[name], {}
        k %= len(posterior.sampled)  # clicks may have more draws
        base, user, item = posterior.part(k)
        sd = abs(posterior.value(k, f"{name}_appeal")) * posterior.beyond**0.5
        why, bases = "logistic regression with crossed random effects", posterior.intercepts
        if f"{name}_clicked" in posterior.sampled.names:  # it may come without a click
            alone, steeper = unflattened(base, sd)
            parameters[f"{name}_without_click"] = Parameter(
                alone, "estimated", why, steeper * _sd(bases, posterior.unsure)
            )
            base += posterior.value(k, f"{name}_clicked")
            bases = (
                bases + posterior.sampled.fixed[:, posterior.sampled.names.index(f"{name}_clicked")]
            )
        else:
            base, why = base + self.without_click[name], f"{why}, given a click"
        base, steeper = unflattened(base, sd)
        parameters[name] = Parameter(base, "estimated", why, steeper * _sd(bases, posterior.unsure))
        least = -np.inf if name == "hate" else 0.0
        parameters |= self._slopes(
            posterior, k, {f"{name}_appeal": f"{name}_appeal"}, steeper, least
        )
        user, item = np.float32(steeper) * user, np.float32(steeper) * item
        return replace(
            model,
            parameters=model.parameters | parameters,
            **{f"user_{name}": user, f"item_{name}": item},  # type: ignore[arg-type]
        )

    def estimates(self) -> dict[str, float]:
        """Every number, the mean over all draws where it is drawn."""
        drawn = [self.model(k).parameters for k in range(len(self))]
        return {
            name: float(np.mean([parameters[name].value for parameters in drawn]))
            for name in drawn[0]
        }

    def _half_life(self, click: FeedbackPosterior, k: int) -> dict[str, Parameter]:
        """Of satiation, draw k."""
        name, hours = "satiation_half_life_h", np.exp(click.sampled.curved)
        if not len(hours):
            return {}
        error = _sd(hours) * click.wider.get("satiation", 1.0)
        return {
            name: Parameter(float(hours[k]), "estimated", self.plain.parameters[name].source, error)
        }

    def _slopes(
        self,
        posterior: FeedbackPosterior,
        k: int,
        names: dict[str, str],
        stretch: float = 1.0,
        least: float = 0.0,
    ) -> dict[str, Parameter]:
        """Coefficients of draw k (column -> parameter), none below `least`."""
        source, s = "logistic regression among what was shown, given levels", posterior.sampled
        return {
            parameter: Parameter(
                max(stretch * posterior.value(k, column), least),
                "estimated",
                source,
                stretch * posterior.error(column),
            )
            for column, parameter in names.items()
            if column in s.names
        }


def like_their_category(level: np.ndarray, category: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(N + 1,) levels, those of `which` replaced by the mean of the others of their category, or of
    all others where it has none.
    """
    known = ~which
    known[0] = False
    if not known.any():
        return level
    n = int(category.max()) + 1
    total, count = (np.bincount(category[known], w, minlength=n) for w in (level[known], None))
    means = np.where(count > 0, total / np.maximum(count, 1), level[known].mean())
    new = np.where(which, means[category], level).astype(np.float32)
    new[0] = 0.0
    return new


def stretched(residual_sd: float) -> float:
    """By how much a slope exceeds what clicks follow of it on average over an unseen normal part of
    this sd.

    The root of 1 + c^2 sd^2 (Zeger, Liang and Albert, Biometrics 1988).
    """
    return float(np.sqrt(1 + ATTENUATION * residual_sd**2))


def unflattened(logit_of_mean: float, sd: float) -> tuple[float, float]:
    """The logit whose sigmoid, over a normal unknown of this sd, has this mean; and what slopes on
    its scale are multiplied by.

    Rare answers are lifted by what is unknown and hardly flattened, where the root of 1 + c^2 sd^2
    holds near one half.
    """
    if sd <= 0:
        return logit_of_mean, 1.0
    at, weight = np.polynomial.hermite_e.hermegauss(21)
    at, weight, want, x = sd * at, weight / weight.sum(), float(expit(logit_of_mean)), logit_of_mean
    for _ in range(20):
        p = expit(x + at)
        slope = float(weight @ (p * (1 - p)))
        x -= (float(weight @ p) - want) / slope
    return float(x), want * (1 - want) / slope


def _sd(x: np.ndarray, more: float = 0.0) -> float:
    return float(np.hypot(x.std(ddof=1), more))


def with_residual_taste(
    parts: Sequence[tuple[Taste, float]], missed: float, seed: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw k of the tastes in logits: the fitted ones times their slopes, and in further dimensions
    what the log leaves open about them.

    Users have more taste than was fitted: signal that was missed. It is drawn at random, so that
    nobody can learn it from the log, as nobody can in reality.

    Args:
        missed: its standard deviation over random pairs.

    Returns:
        (U, D + RESIDUAL_WIDTH) and (N + 1, D + RESIDUAL_WIDTH) float32.
    """
    rng = generator("spare taste", seed, k)
    n_users, n_items = len(parts[0][0].user), len(parts[0][0].item)
    residual_user = rng.normal(size=(n_users, RESIDUAL_WIDTH)) * missed / np.sqrt(RESIDUAL_WIDTH)
    residual_item = rng.normal(size=(n_items, RESIDUAL_WIDTH))
    residual_item[0] = 0
    of_users = [slope * taste.user for taste, slope in parts]
    return (
        np.concatenate([*of_users, residual_user], axis=1).astype(np.float32),
        np.concatenate([*(taste.item for taste, _ in parts), residual_item], axis=1).astype(
            np.float32
        ),
    )
