"""Users fitted on the early part of a log, held against its late part."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit

from policies.common.errors import InputError
from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.sources.levels import generic_level
from simulator.chains.crossed_effects import Chains, Rows, fit_crossed_effects
from simulator.fitting.calibration import random_by_levels
from simulator.fitting.fit_users import fit
from simulator.fitting.posterior import Posterior
from simulator.users.choice_model import DAY
from simulator.validation.fidelity import Answers, Fidelity, judge
from simulator.validation.free_running import (
    FEWEST_USERS,
    FreeRunning,
    features_of,
    free_running,
    two_sample,
    user_days,
)
from simulator.validation.held_out import Replay, answered, answers_of, day_to_day, seen
from simulator.validation.policy_ranking import PolicyRanking, policy_ranking

FEWEST = 20  # of a feedback in either part, or it is not judged
FEEDBACK = {
    "click": ("clicked", "skips"),
    "long view": ("long_view", "long_view"),
    "like": ("liked", "likes"),
    "hate": ("hated", "hates"),
}


@dataclass(frozen=True)
class Validation:
    """What came out.

    Attributes:
        feedback: the figures by feedback. random_slates: of the level that is assumed.
        free: sessions and returns, None where they cannot be judged.
        user_days: AUC and its 95 % interval of telling held-out user-days from the same ones
            answered by the users; None with too few users.
        ranking: of policies, None where the log has no propensities.
    """

    feedback: list[Fidelity]
    random_slates: dict[str, Any]
    free: FreeRunning | None
    user_days: tuple[float, float, float] | None
    ranking: PolicyRanking | None

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for `fidelity.json`."""
        return {
            "random_slates": self.random_slates,
            "feedback": [asdict(f) for f in self.feedback],
            "free_running": None if self.free is None else asdict(self.free),
            "user_days": self.user_days,
            "policy_ranking": None if self.ranking is None else asdict(self.ranking),
        }


def split(data: Dataset, days: int) -> tuple[Dataset, Impressions]:
    """The log before the last `days` calendar days, as a data set that ends at time 0, and those
    days.

    Raises:
        InputError: one of the two parts is too small to say anything.
    """
    midnight = -(data.hour_zero or 24.0) * 3600  # of the day on which the log ends
    cut = midnight - (days - 1) * DAY
    late = data.log.time >= cut
    if late.sum() < 100 or (~late).sum() < 100:
        span = (data.log.time.max() - data.log.time.min()) / DAY
        raise InputError(
            f"--held-out-days {days} leaves {int((~late).sum())} rows to fit and {int(late.sum())}"
            f" to compare, of a log of {span:.1f} days; wanted at least 100 of each"
        )
    early, after = data.log.rows(~late), data.log.rows(late)
    end = float(early.time.max())
    hour = (data.hour_zero + end / 3600) % 24
    history = _shifted(data.history, end)
    before = replace(data, log=_shifted(early, end), history=history, hour_zero=hour)
    # made from the log: from its early part, then
    if data.calibration["random_click_rate"] == generic_level(data):
        before = replace(
            before, calibration={**data.calibration, "random_click_rate": generic_level(before)}
        )
    return before, _shifted(after, end)


def _shifted(log: Impressions, zero: float) -> Impressions:
    return replace(log, time=log.time - zero)


def random_slates(fitted: Posterior, early: Dataset, slate_size: int, seed: int) -> dict[str, Any]:
    """Click rate of uniformly random slates as what was shown alone predicts it, beside the level
    that is calibrated to.

    What a log shows has been selected: pairs that a policy never shows may be worse than levels and
    taste say.
    """
    some = range(min(len(fitted), 10))
    predicted = [random_by_levels(fitted.model(k), early, slate_size, seed) for k in some]
    level, source = early.calibration["random_click_rate"]
    return {"from_what_was_shown": float(np.mean(predicted)), "calibrated": level, "source": source}


def validate(
    data: Dataset,
    days: int,
    slate_size: int,
    say: Callable[[str], None],
    kind: str = "factors",
    chains: Chains | None = None,
) -> Validation:
    """Fits on the early part and judges every feedback that the log has on the late part.

    Args:
        days: calendar days at the end that are held out. kind: of user model. chains: of the
            sampler, with the seed of everything.
    """
    _refuse(data, kind)
    chains = chains if chains is not None else Chains()
    seed = chains.seed
    early, late = split(data, days)
    say(f"{len(early.log)} rows to fit, {len(late)} held out")
    fitted = fit(early, seed, slate_size, say, kind, chains)
    say("held-out slates, answered by every draw of the users")
    level = random_slates(fitted, early, slate_size, seed)
    answers = answers_of(fitted, early, late, slate_size)
    feedback = _feedback(data, fitted, early, late, answers, slate_size, seed, say)
    if not feedback:
        raise InputError(
            f"the log '{data.name}' has fewer than {FEWEST} clicks before or after the cut; hold"
            " out another part"
        )
    say("user-days of the held-out slates")
    apart = _user_days(fitted, early, late, answers[1], slate_size, seed)
    say("policies: by the log's propensities, and by the users")
    ranking = policy_ranking(fitted, early, late, slate_size, seed)
    free = None
    if "sessions" in data.has:
        say("free running: sessions and returns simulated too")
        free = free_running(fitted.model(0), early, late, slate_size, seed)
    return Validation(feedback, level, free, apart, ranking)


def _refuse(data: Dataset, kind: str) -> None:
    """Raises InputError at a log or a user model that cannot be validated."""
    if "skips" not in data.has:
        raise InputError(
            f"the log '{data.name}' has no skips: whatever it shows was chosen, and there is no"
            " rate to compare; validate on a log of impressions"
        )
    if kind == "matrix":
        raise InputError(
            "--user-model matrix replays what the log holds: on other days it has nothing to say;"
            " validate factors"
        )


def _feedback(
    data: Dataset,
    fitted: Posterior,
    early: Dataset,
    late: Impressions,
    answers: tuple[Replay, Replay, dict[str, float]],
    slate_size: int,
    seed: int,
    say: Callable[[str], None],
) -> list[Fidelity]:
    """Every kind of feedback that has enough rows with it and without it, in both parts."""
    predicted, one, unsure = answers
    looked = [seen(fitted.plain, early, log, slate_size) for log in (early.log, late)]
    day_of = [_day(time, early.hour_zero) for time in (early.log.time, late.time)]
    judged = []
    for name, (column, flag) in FEEDBACK.items():
        if flag not in data.has:
            continue
        say(f"{name}: simulated against held-out answers")
        before, happened = getattr(early.log, column), getattr(late, column)
        if min(min(y.sum(), (~y).sum()) for y in (happened, before)) < FEWEST:
            say(
                f"{name}: fewer than {FEWEST} rows with it, or without it, in one of the parts: too"
                " few to judge"
            )
            continue
        spread = day_to_day(before, early.log.user, day_of[0])
        between = spread * np.sqrt(sum(1 / len(np.unique(day)) for day in day_of))
        held_out = Answers(
            name,
            late.user,
            late.item,
            happened,
            predicted[name],
            one[name],
            {"user + item": looked[1] * _by_levels(before, early, late, looked[0])},
            float(np.hypot(between, unsure[name])),
        )
        judged.append(judge(held_out, generator("validate", seed, name)))
    return judged


def _by_levels(y: np.ndarray, early: Dataset, late: Impressions, looked: np.ndarray) -> np.ndarray:
    """(rows,) of a simpler prediction, if looked at: user and item levels alone."""
    log, size = early.log, early.catalogue.size
    rows = Rows(y, log.user, log.item, early.n_users, size, examination=looked)
    simple: np.ndarray = expit(fit_crossed_effects(rows).logits(late.user, late.item))
    return simple


def _user_days(
    fitted: Posterior, early: Dataset, late: Impressions, one: Replay, slate_size: int, seed: int
) -> tuple[float, float, float] | None:
    """Whether held-out user-days can be told from the same ones answered by the users; None with
    too few users.
    """
    if len(np.unique(late.user)) < FEWEST_USERS:
        return None
    looked = seen(fitted.plain, early, late, slate_size)
    drawn = answered(fitted.model(len(fitted) - 1), late, one, looked, seed)
    category = early.catalogue.category
    real, simulated = (user_days(rows, early.hour_zero, category) for rows in (late, drawn))
    rng = generator("replayed user-days", seed)
    return two_sample(real, simulated, rng, features_of(early))


def _day(time: np.ndarray, hour_zero: float) -> np.ndarray:
    return np.floor((time / 3600 + hour_zero) / 24)
