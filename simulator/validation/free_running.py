"""Free running: sessions, returns and volumes are simulated too, and held against the log's.

Against the days that the users were fitted on this checks the implementation: a model must give
back the levels that it was given. Against held-out days it checks the model. The slates are drawn
as the log shows items (each user's categories, popular items of them), and the level of the clicks
is moved to the log's, so that what is judged is when users come and how long they stay.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import wasserstein_distance
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from policies.base import Requests, Slates
from policies.baselines.uniform import Uniform
from policies.common.errors import InputError
from policies.draws import Draws, generator, key_of
from policies.log import Dataset, Impressions
from policies.ranking import mask_scores, top_k
from simulator.engine.histories import Histories
from simulator.engine.recorder import WARMUP, Recorder
from simulator.engine.world import Arm, World
from simulator.fitting.sessions import pages_table, visits_table
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel
from simulator.users.strangers import TELLS, Strangers
from simulator.validation.fidelity import distance

MOST_USERS = 2000
FEWEST_GAPS, FEWEST_USERS = 50, 20
FEATURES = ("impressions", "clicks", "long_views", "watch_time", "categories", "active_hours")
RESAMPLED = 40  # times, to see what chance does
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class Exposed(Uniform):
    """Draws items as the log shows them: a user's own categories, and within a category by how
    often an item was shown.
    """

    def __init__(self, data: Dataset):
        super().__init__()
        category, log = data.catalogue.category.astype(np.int64), data.log
        shown = np.bincount(log.item, minlength=data.catalogue.size + 1) + 0.01
        within = np.log(shown / np.bincount(category, shown)[category])
        n = int(category.max()) + 1
        flat = log.user.astype(np.int64) * n + category[log.item]
        own = np.bincount(flat, minlength=data.n_users * n).reshape(data.n_users, n).astype(float)
        everyone = own.sum(axis=0) / own.sum()
        # as if each had seen two items like everybody's besides
        self._own = np.log(own + 2 * everyone + 1e-6)
        self._category, self._within = category, within

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        scores = self._own[requests.users][:, self._category] + self._within
        scores += draws.gumbel("exposed", len(self._within))
        return Slates(top_k(mask_scores(scores, requests), slate_size))


@dataclass(frozen=True)
class FreeRunning:
    """What came out.

    Attributes:
        levels: rows of name, log, simulated; over the days that were fitted. held_out: the same
            over held-out days.
        distances: name -> (Kolmogorov-Smirnov, Wasserstein) over held-out days: pages per session,
            hours of the gaps, hour of the day, sessions per user.
        chance: name -> by how much a level, relative as the lights have it, or a distance differs
            between two samples of as many users, one time in twenty; over held-out days.
            chance_fitted: of a level over the days that were fitted, from what the sample has
            itself: the users were given that one.
        auc: of a classifier that tells simulated user-days from held-out ones, with its 95 %
            interval over users; .5 = cannot.
    """

    levels: list[tuple[str, float, float]]
    held_out: list[tuple[str, float, float]]
    distances: dict[str, tuple[float, float]]
    chance: dict[str, float]
    chance_fitted: dict[str, float]
    auc: tuple[float, float, float]


def free_running(
    model: ChoiceModel | Strangers,
    early: Dataset,
    late: Impressions,
    slate_size: int,
    seed: int,
) -> FreeRunning | None:
    """Lets users of the early log live on and compares; None where visits are assumed or too few to
    compare.

    Args:
        model: their shift is that of the log's own slates. late: held out; time 0 is the end of the
            early log.
    """
    if isinstance(model, Strangers):
        early = replace(early, has=early.has - (TELLS - model.tells))
    elif model.parameters["gap_long_mean"].status == "assumed":
        return None
    rng = generator("free running", seed)
    everyone = np.unique(early.log.user)
    users = np.sort(rng.choice(everyone, min(len(everyone), MOST_USERS), replace=False))
    past = early.log.rows(np.isin(early.log.user, users))
    after = late.rows(np.isin(late.user, users))
    length, held = -float(early.log.time.min()), float(late.time.max())
    if min(_gaps(past), _gaps(after)) < FEWEST_GAPS or len(np.unique(after.user)) < FEWEST_USERS:
        return None
    # The clicks' level decides how satisfied users are: moved to the log's.
    for _ in range(3):
        pilot = simulate(model, early, users, slate_size, min(max(length, held), 3 * DAY), seed)
        model = lifted(
            model,
            float(
                logit(np.clip(past.clicked.mean(), 0.001, 0.999))
                - logit(np.clip(pilot.clicked.mean(), 0.001, 0.999))
            ),
        )
    rows = simulate(model, early, users, slate_size, max(length, held), seed)
    zero, chance = early.hour_zero, generator("free running", "chance", seed)
    first, second = rows.rows(rows.time < length), rows.rows(rows.time < held)
    if min(_gaps(first), _gaps(second)) < 1:
        raise InputError(
            "hardly anybody came in a simulation of the log's days, or came twice: look at first"
            " and next visits of the user model"
        )
    given = replace(past, time=past.time + length)  # as the simulation has it: from 0 on
    given_zero = (zero - length / 3600) % 24
    n, category = len(users), early.catalogue.category
    fitted = _measures(given, n, length, given_zero)[0], _measures(first, n, length, zero)[0]
    (real, real_spread), (lived, lived_spread) = (
        _measures(part, n, held, zero) for part in (after, second)
    )
    distances = {
        name: (distance(x, lived_spread[name]), float(wasserstein_distance(x, lived_spread[name])))
        for name, x in real_spread.items()
        if len(x) and len(lived_spread[name])
    }
    return FreeRunning(
        [(name, value, fitted[1][name]) for name, value in fitted[0].items()],
        [(name, value, lived[name]) for name, value in real.items()],
        distances,
        _by_chance(after, users, held, zero, chance, 2),
        _by_chance(given, users, length, given_zero, chance, 1),
        two_sample(
            user_days(after, zero, category),
            user_days(second, zero, category),
            rng,
            features_of(early),
        ),
    )


def lifted(model: ChoiceModel | Strangers, by: float) -> ChoiceModel | Strangers:
    """With so many logits more for every click, where their level can be set."""
    if isinstance(model, Strangers):
        return model if model.level is None else model.with_level(model.level + by)
    shift = model.parameters["shift"]
    return model.with_parameters(shift=replace(shift, value=shift.value + by))


def _by_chance(
    log: Impressions,
    users: np.ndarray,
    length: float,
    hour_zero: float,
    rng: np.random.Generator,
    samples: int,
) -> dict[str, float]:
    """`FreeRunning.chance`: what resampling the users does, times the root of how many samples are
    uncertain.
    """
    levels, spread = _measures(log, len(users), length, hour_zero)
    order = np.argsort(log.user, kind="stable")
    count = np.searchsorted(log.user[order], users, "right") - (
        first := np.searchsorted(log.user[order], users)
    )
    off: dict[str, list[float]] = {name: [] for name in (*levels, *spread)}
    for _ in range(RESAMPLED):
        pick = rng.integers(0, len(users), len(users))
        rows = np.repeat(first[pick], count[pick]) + ragged(count[pick])
        if not len(rows):
            continue
        again = replace(log.rows(order[rows]), user=np.repeat(np.arange(len(users)), count[pick]))
        other, other_spread = _measures(again, len(users), length, hour_zero)
        for name, value in levels.items():
            off[name].append(relative_to((name, value, other[name])))
        for name, x in spread.items():
            off[name].append(
                distance(x, other_spread[name]) if len(x) and len(other_spread[name]) else 0.0
            )
    return {
        name: float(samples**0.5 * np.quantile(values, 0.95))
        for name, values in off.items()
        if values
    }


def ragged(count: np.ndarray) -> np.ndarray:
    """0, 1, ... for each count, one after the other."""
    offsets: np.ndarray = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return offsets


def relative_to(level: tuple[str, float, float]) -> float:
    """How far a simulated level is from the log's, relative; a share below a quarter relative to a
    quarter.
    """
    name, log, simulated = level
    whole = max(log, 0.25) if "share" in name or "visits" in name else log
    return abs(simulated - log) / whole if whole else 0.0


def simulate(
    model: ChoiceModel | Strangers,
    early: Dataset,
    users: np.ndarray,
    slate_size: int,
    length: float,
    seed: int,
) -> Impressions:
    """What these users see and do in `length` seconds from time 0 on; `user` is the log's."""
    n, available = len(users), int(early.catalogue.available(0.0).sum())
    experiment = Experiment(
        policies=("uniform",), users=max(n, 2), rounds=1, seed=seed, slate_size=slate_size
    )
    ids = users.astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        small = model.of_users(users)
        world = World(
            name="free running",
            experiment=experiment,
            model=small,
            catalogue=early.catalogue,
            ids=ids,
            bucket=np.full(n, -1, np.int16),
            arms=[Arm(WARMUP, -1, Exposed(early))],
            state=small.start(n, 0.0),
            histories=Histories.of(
                n, 0, 0, max(min(experiment.repeat_after, available - slate_size), 0)
            ),
            due=small.first_visit(
                np.arange(n), 0.0, Draws(key_of("free running", seed), ids, ids * 0)
            ),
            sessions=np.zeros(n, np.int32),
            sink=(recorder := Recorder(Path(folder))),
        )
        world.run(0.0, length)
        return recorder.rows({WARMUP: -1}, -np.inf, length)


def _gaps(log: Impressions) -> int:
    """Gaps between visits that begin and end in these rows."""
    return len(np.unique(np.column_stack([log.user, log.session]), axis=0)) - len(
        np.unique(log.user)
    )


def _measures(
    log: Impressions, n_users: int, length: float, hour_zero: float
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Levels and distributions of one stretch of a log."""
    pages = pages_table(log)
    visits = visits_table(pages)
    hours = (visits["next"] - visits["end"]).to_numpy() / 3600
    hours = hours[np.isfinite(hours) & (hours > 0)]
    per_session = pages.groupby(["user", "session"]).size().to_numpy()
    measures = {
        "sessions per user and day": len(visits) / n_users / (length / DAY),
        "pages per session": float(per_session.mean()),
        "share of gaps under 4 h": float((hours < 4).mean()),
        **{f"gap, quantile {q:g} (h)": float(np.quantile(hours, q)) for q in QUANTILES},
        "click rate": float(log.clicked.mean()),
    }
    clock = (visits["start"].to_numpy() / 3600 + hour_zero) % 24
    shares = np.bincount(clock.astype(int) // 6, minlength=4) / len(clock)
    measures |= {
        f"visits from {6 * i} to {6 * i + 6} o'clock": float(share)
        for i, share in enumerate(shares)
    }
    sessions = np.zeros(n_users)
    per_user = visits.groupby("user").size().to_numpy()
    sessions[: len(per_user)] = per_user
    return measures, {
        "pages per session": per_session.astype(float),
        "gaps (h)": hours,
        "hour of the day": clock,
        "sessions per user": sessions,
    }


def user_days(log: Impressions, hour_zero: float, category: np.ndarray) -> pd.DataFrame:
    """One row per user and calendar day on which it came: the features of the two-sample test."""
    clock = log.time / 3600 + hour_zero
    frame = pd.DataFrame(
        {
            "user": log.user,
            "day": np.floor(clock / 24),
            "hour": np.floor(clock),
            "category": category[log.item],
            "clicks": log.clicked,
            "long_views": log.long_view,
            "watch_time": log.watched,
        }
    )
    by = frame.groupby(["user", "day"])
    days = by.agg(
        impressions=("clicks", "size"),
        clicks=("clicks", "sum"),
        long_views=("long_views", "sum"),
        watch_time=("watch_time", "sum"),
        categories=("category", "nunique"),
        active_hours=("hour", "nunique"),
    )
    return days.reset_index()


def features_of(data: Dataset) -> tuple[str, ...]:
    """Those of FEATURES that the log tells; the others are simulated by assumption and would give
    the users away.
    """
    identified = {
        "long_views": "long_view" in data.has,
        "watch_time": "watch" in data.has,
        "categories": int(data.catalogue.category.max()) > 0,
    }
    return tuple(name for name in FEATURES if identified.get(name, True))


def two_sample(
    real: pd.DataFrame,
    simulated: pd.DataFrame,
    rng: np.random.Generator,
    features: tuple[str, ...] = FEATURES,
) -> tuple[float, float, float]:
    """Classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017): cross-validated AUC, and its 95
    % interval.

    Users are kept together in folds and resampled for the interval. Of the larger table a part of
    equal size is used.
    """
    n = min(len(real), len(simulated))
    parts = [table.iloc[rng.permutation(len(table))[:n]] for table in (real, simulated)]
    both = pd.concat(parts, ignore_index=True)
    y = np.repeat([0, 1], n)
    # A user is the same person on both sides, and one group.
    user = both["user"].to_numpy()
    score = np.zeros(len(y))
    x = both[list(features)].to_numpy(float)
    for train, test in GroupKFold(5).split(x, y, user):
        model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, random_state=0)
        score[test] = model.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    _, group = np.unique(user, return_inverse=True)
    resampled = []
    for _ in range(200):
        weight = np.bincount(
            rng.integers(0, group.max() + 1, group.max() + 1), minlength=group.max() + 1
        )[group]
        resampled.append(roc_auc_score(y, score, sample_weight=weight))
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(roc_auc_score(y, score)), float(low), float(high)
