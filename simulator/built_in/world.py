"""The built-in world: a synthetic log whose truth is known. Every parameter of it stands in this
file.

The levels follow KuaiRand (see docs/users.md): uniformly random slates are clicked at .176, those
of the world's own logging policy at about .45. Activity is lighter than Kuaishou's, so that the
default run is short. The logging policy knows the users' appeal up to noise; it is the past of this
world, not a contender.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from policies.base import Requests, Slates
from policies.catalogue import Catalogue
from policies.draws import Draws, generator, key_of
from policies.log import Dataset, Impressions
from policies.ranking import mask_scores, top_k
from simulator.engine.histories import Histories
from simulator.engine.recorder import WARMUP, Recorder
from simulator.engine.world import Arm, World
from simulator.fitting.drift import HALF_LIFE_D
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel, Parameter


@dataclass(frozen=True)
class BuiltInParameters:
    """What the world is made of. Standard deviations are in logits."""

    users: int = 2000
    items: int = 1000
    categories: int = 20
    taste_width: int = 8
    log_days: float = 10.0
    slate_size: int = 6
    user_level_sd: float = 0.5
    item_level_sd: float = 0.6  # skewed: few items are much liked
    taste_sd: float = 1.0  # more variance than both levels together
    # of the variance of an item's taste vector that its category explains
    category_share: float = 0.6
    shift: float = -1.77  # makes uniformly random slates click at .176
    logging_noise_sd: float = 0.8  # what the logging policy gets wrong about each user and item
    logging_temperature: float = 0.2  # makes its slates click at about .45
    examination_exponent: float = 0.12  # slot k is reached with probability k ** -this
    satiation: float = 0.12
    satiation_half_life_h: float = 3.0
    repeat_fatigue: float = 0.5
    # logits that a category gains by an unexpected click, lost by half in a week
    drift: float = 0.0
    leave: float = -1.0
    leave_first_page: float = 0.3
    leave_satisfaction: float = -1.5
    gap_short_share: float = 0.35
    gap_short_hours: float = 1.5
    gap_long_hours: float = 20.0
    gap_short_sd: float = 0.5
    gap_long_sd: float = 0.4
    return_satisfaction: float = -0.6
    activity_sd: float = 0.3
    churn: float = 0.003
    like: float = -3.4
    like_appeal: float = 0.5
    like_sd: float = 0.5  # over users; items .6 of it
    hate: float = -5.5
    hate_appeal: float = -0.5
    hate_sd: float = 0.5
    long_view: float = 0.4
    long_view_appeal: float = 0.6
    long_view_sd: float = 0.3

    def parameters(self) -> dict[str, Parameter]:
        """The true scalar parameters, in the form of the fitted ones."""
        values = {
            "shift": self.shift,
            "selection": 0.0,
            "satiation": self.satiation,
            "satiation_half_life_h": self.satiation_half_life_h,
            "repeat_fatigue": self.repeat_fatigue,
            "drift": self.drift,
            "drift_half_life_d": HALF_LIFE_D,
            "leave": self.leave,
            "leave_first_page": self.leave_first_page,
            "leave_satisfaction": self.leave_satisfaction,
            "satisfaction_reference": 0.45,
            "gap_short_share": self.gap_short_share,
            "gap_short_mean": float(np.log(self.gap_short_hours)),
            "gap_short_sd": self.gap_short_sd,
            "gap_long_mean": float(np.log(self.gap_long_hours)),
            "gap_long_sd": self.gap_long_sd,
            "return_satisfaction": self.return_satisfaction,
            "churn": self.churn,
            "long_view": self.long_view,
            "long_view_appeal": self.long_view_appeal,
            "like": self.like,
            "like_appeal": self.like_appeal,
            "hate": self.hate,
            "hate_appeal": self.hate_appeal,
            "watch_long": 1.0,
            "watch_long_duration": 0.7,
            "watch_long_sd": 0.4,
            "watch_short": 0.2,
            "watch_short_duration": 0.4,
            "watch_short_sd": 0.7,
            "seconds_per_item": 2.0,
        }
        return {
            name: Parameter(value, "assumed", "the built-in world")
            for name, value in values.items()
        }


# Visits by hour of the day: a trough at night, a peak in the evening (KuaiRand's counts, rounded;
# mean 1).
HOURS = np.array(
    [10, 6, 4, 3, 3, 4, 7, 10, 12, 13, 14, 15, 17, 17, 15, 16, 17, 18, 19, 20, 21, 22, 22, 17],
    float,
)


def true_users(p: BuiltInParameters, seed: int = 0) -> tuple[ChoiceModel, Catalogue]:
    """The users of the world as they really are, and its items."""
    rng = generator("world", seed)
    category = np.sort(rng.choice(p.categories, p.items, p=_zipf(p.categories, 0.7)))
    centres = rng.normal(size=(p.categories, p.taste_width))
    within = rng.normal(size=(p.items, p.taste_width))
    item_taste = (
        np.sqrt(p.category_share) * centres[category] + np.sqrt(1 - p.category_share) * within
    )
    user_taste = rng.normal(size=(p.users, p.taste_width))
    raw = user_taste[:2000] @ item_taste.T  # enough to know its spread
    user_taste *= p.taste_sd / (raw - raw.mean(0) - raw.mean(1, keepdims=True) + raw.mean()).std()
    item_level = rng.exponential(size=p.items)
    item_level = p.item_level_sd * (item_level - item_level.mean()) / item_level.std()
    duration = np.exp(rng.normal(np.log(30), 0.6, p.items))
    names = np.array([f"topic-{c + 1:02d}" for c in range(p.categories)])[category]
    catalogue = Catalogue.of(
        np.array([f"video-{i:04d}" for i in range(1, p.items + 1)]), names, duration
    )
    slots = np.arange(1, 101)
    source = ("assumed", "the built-in world")
    arrays = ("user_level", "activity", "taste", "item_level", "examination", "hours")
    model = ChoiceModel(
        parameters=p.parameters(),
        user_level=(p.user_level_sd * rng.normal(size=p.users)).astype(np.float32),
        activity=(p.activity_sd * rng.normal(size=p.users)).astype(np.float32),
        user_taste=user_taste.astype(np.float32),
        item_level=np.concatenate([[0], item_level]).astype(np.float32),
        item_taste=np.concatenate([np.zeros((1, p.taste_width)), item_taste]).astype(np.float32),
        **_feedback_effects(p, seed),
        category=catalogue.category,
        duration=np.concatenate([[1], duration]).astype(np.float32),
        examination=slots**-p.examination_exponent,
        hours=HOURS / HOURS.mean(),
        hour_zero=0.0,
        provenance=dict.fromkeys(arrays, source),
    )
    return model, catalogue


def _feedback_effects(p: BuiltInParameters, seed: int) -> dict[str, Any]:
    """What users and items differ in beyond appeal, around 0 on average."""
    rng = generator("world enjoyment", seed)
    levels: dict[str, np.ndarray] = {}
    for name, sd in (("long_view", p.long_view_sd), ("like", p.like_sd), ("hate", p.hate_sd)):
        levels[f"user_{name}"] = (sd * rng.normal(size=p.users)).astype(np.float32)
        items = 0.6 * sd * rng.normal(size=p.items)
        levels[f"item_{name}"] = np.concatenate([[0], items - items.mean()]).astype(np.float32)
    return levels


def _zipf(n: int, exponent: float) -> np.ndarray:
    weight = np.arange(1, n + 1) ** -exponent
    return weight / weight.sum()


class LoggingPolicy:
    """The world's past: a softmax over appeal plus a fixed error of its own for every user and
    item.
    """

    history_length = 0
    history_of: Literal["impressions", "clicks"] = "impressions"

    def __init__(self, model: ChoiceModel, p: BuiltInParameters, seed: int):
        rng = generator("world", "logging", seed)
        error = rng.normal(size=(p.users, p.items + 1)).astype(np.float32) * p.logging_noise_sd
        self.scores = (
            model.user_taste @ model.item_taste.T + model.item_level + error
        ) / p.logging_temperature

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        scores = self.scores[requests.users] + draws.gumbel("logging", self.scores.shape[1])
        return Slates(top_k(mask_scores(scores, requests), slate_size))

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        pass


def served(
    p: BuiltInParameters,
    seed: int,
    truth: tuple[ChoiceModel, Catalogue],
    arms: list[Arm],
    bucket: np.ndarray,
    first_day: float,
    last_day: float,
) -> Impressions:
    """What these arms show all users of the world, and what is answered; the same draws for every
    set of arms.

    Args:
        truth: what `true_users` gives. bucket: (users,) int16 code of each one's arm.
    """
    model, catalogue = truth
    experiment = Experiment(
        policies=("uniform",), users=p.users, seed=key_of("world", seed), slate_size=p.slate_size
    )
    ids = np.arange(p.users, dtype=np.int32)
    start = first_day * DAY
    with tempfile.TemporaryDirectory() as folder:
        world = World(
            name="log",
            experiment=experiment,
            model=model,
            catalogue=catalogue,
            ids=ids,
            bucket=bucket,
            arms=arms,
            state=model.start(p.users, start),
            histories=Histories.of(p.users, 0, 0, experiment.repeat_after),
            due=model.first_visit(ids, start, Draws(key_of("world", seed, "first"), ids, ids * 0)),
            sessions=np.zeros(p.users, np.int32),
            sink=(recorder := Recorder(Path(folder))),
        )
        world.run(start, last_day * DAY)
        return recorder.rows({arm.bucket: arm.code for arm in arms}, -np.inf, last_day * DAY)


def built_in_log(seed: int = 0, p: BuiltInParameters | None = None) -> tuple[Dataset, ChoiceModel]:
    """The world's log as a data set like any other, and the truth behind it (for tests and for
    nobody else).
    """
    p = p if p is not None else BuiltInParameters()
    model, catalogue = true_users(p, seed)
    arm, nobody = Arm(WARMUP, -1, LoggingPolicy(model, p, seed)), np.full(p.users, -1, np.int16)
    log = served(p, seed, (model, catalogue), [arm], nobody, -p.log_days, 0.0)
    data = Dataset(
        log=log,
        catalogue=catalogue,
        user_ids=np.array([f"user-{u:04d}" for u in range(1, p.users + 1)]),
        name="world",
        has=frozenset({"skips", "slots", "sessions", "watch", "long_view", "likes", "hates"}),
        calibration={
            "random_click_rate": (0.176, "level of the built-in world, after KuaiRand-Pure")
        },
        notes=("The log is synthetic and its truth is known; only the tests look at it.",),
    )
    return data, model
