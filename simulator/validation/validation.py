"""Users fitted on the early part of a log, held against its late part."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import expit

from policies.common.errors import InputError
from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.sources.levels import generic_level
from simulator.chains.crossed_effects import Rows, fit_crossed_effects
from simulator.fitting.fit_users import fit
from simulator.users.choice_model import DAY, ChoiceModel
from simulator.validation.answering import answered_log
from simulator.validation.asked import Asked, Say
from simulator.validation.choosing import chosen_again, split_last
from simulator.validation.fidelity import FEEDBACK, Answers, Fidelity, judge
from simulator.validation.foretold import Foretold, foretold
from simulator.validation.free_running import (
    FEWEST_USERS,
    FreeRunning,
    features_of,
    free_running,
    two_sample,
    user_days,
)
from simulator.validation.held_out import Replay, answered, day_to_day
from simulator.validation.learning import Learning, learning
from simulator.validation.left_over import LeftOver, left_over
from simulator.validation.policy_ranking import PolicyRanking
from simulator.validation.second_log import Difference, SecondFound, in_terms_of, tested
from simulator.validation.users import Users, users_of

FEWEST = 20  # of a feedback in either part, or it is not judged
MOST_SCORES = 10_000_000_000  # of items, one for each choice: some minutes


@dataclass(frozen=True)
class Validation:
    """What came out.

    Attributes:
        feedback: the figures by feedback. random_slates: of the level that is assumed.
        free: sessions and returns, None where they cannot be judged.
        user_days: AUC and its 95 % interval of telling held-out user-days from the same ones
            answered by the users; None with too few users.
        ranking: of policies, None where the log has no propensities.
        taught: models that learned from real and from simulated answers, or why none did.
        missed: of the taste, by the users. foretold: choices held out, of a log without skips.
        second: another log, of which all is then. counted: feedback of which users of somebody else
            state no probability.
    """

    feedback: list[Fidelity] = field(default_factory=list)
    random_slates: dict[str, Any] | None = None
    free: FreeRunning | None = None
    user_days: tuple[float, float, float] | None = None
    ranking: PolicyRanking | None = None
    taught: Learning | str = "not asked for"
    foretold: Foretold | None = None
    missed: LeftOver | None = None
    counted: frozenset[str] = frozenset()
    second: SecondFound | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for `fidelity.json`."""
        return {
            "random_slates": self.random_slates,
            "feedback": [asdict(f) for f in self.feedback],
            "free_running": None if self.free is None else asdict(self.free),
            "user_days": self.user_days,
            "policy_ranking": None if self.ranking is None else asdict(self.ranking),
            "learning": self.taught if isinstance(self.taught, str) else asdict(self.taught),
            "taste_left_over": None if self.missed is None else asdict(self.missed),
            "choices_held_out": None if self.foretold is None else asdict(self.foretold),
            "second_log": None if self.second is None else asdict(self.second),
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


def random_slates(users: Users, early: Dataset, slate_size: int, seed: int) -> dict[str, Any]:
    """Click rate of uniformly random slates as what was shown alone predicts it, beside the level
    that is calibrated to.

    What a log shows has been selected: pairs that a policy never shows may be worse than levels and
    taste say.
    """
    level, source = early.calibration["random_click_rate"]
    told = users.random(early, slate_size, seed, 0.0)
    return {"from_what_was_shown": told, "calibrated": level, "source": source}


def validate(data: Dataset, asked: Asked, say: Say) -> Validation:
    """Fits on the early part and judges whatever the log tells of the late part.

    Raises:
        InputError: nothing can be told.
    """
    if asked.kind == "matrix":
        raise InputError(
            "--user-model matrix replays what the log holds: on other days it has nothing to say;"
            " validate factors"
        )
    if "skips" not in data.has:
        return _of_choices(data, asked, say)
    seed, k = asked.seed, asked.slate_size
    early, late = split(data, asked.days)
    say(f"{len(early.log)} rows to fit, {len(late)} held out")
    users = users_of(early, asked, say)
    say("held-out slates, answered by the users")
    level = random_slates(users, early, k, seed)
    answers = users.answers(early, late, k)
    feedback = _feedback(data, users, early, late, answers, asked, say)
    if not feedback:
        raise InputError(
            f"the log '{data.name}' has fewer than {FEWEST} clicks before or after the cut; hold"
            " out another part"
        )
    looked = users.looked(early, late, k)
    missed = left_over(early, late, answers[0]["click"], looked, seed)
    say("user-days of the held-out slates")
    apart = _user_days(users, early, late, answers[1], asked)
    say("policies: by the log's propensities, and by the users")
    ranking = users.ranking(early, late, k, seed)
    free = None
    if "sessions" in data.has:
        say("free running: sessions and returns simulated too")
        free = free_running(users.one, early, late, k, seed)
    taught = _learning(early, late, asked, say, lambda s: answered_log(users.one, early, late, s))
    return Validation(
        feedback, level, free, apart, ranking, taught, missed=missed, counted=users.counted
    )


def _of_choices(data: Dataset, asked: Asked, say: Say) -> Validation:
    """Of a log that tells what was chosen alone."""
    early, late = split_last(data)
    if asked.stranger:
        raise InputError(
            f"the log '{data.name}' has no skips, and nobody knows how users of --user-model"
            f" {asked.kind} choose among all items; validate them on a log of impressions"
        )
    say(f"{len(early.log)} choices to fit, the last ones of {len(late)} users held out")
    if len(late) < FEWEST:
        raise InputError(
            f"the log '{data.name}' has no skips, and {len(late)} users with three choices; wanted"
            f" {FEWEST}"
        )
    fitted = fit(early, asked.seed, asked.slate_size, say, asked.kind, asked.chains)
    found = fitted.choices
    if found is None:
        raise InputError(
            f"the log '{data.name}' has no skips: users of --user-model {asked.kind} cannot be held"
            " against its choices; validate factors"
        )
    say("choices held out, beside random items")
    known = foretold(found, early, late, asked.seed)
    held = np.unique(late.user)

    some = _some_users(early, late, asked.seed)
    few, last_ones = (x.rows(np.isin(x.user, some)) for x in (early.log, late))

    def again(seed: int) -> tuple[Impressions, Impressions]:
        part = replace(early, log=few)
        rows = chosen_again(fitted.model(0), found, part, last_ones, seed)
        last = np.append(rows.user[1:] != rows.user[:-1], True) & np.isin(rows.user, held)
        return rows.rows(~last), rows.rows(last)

    taught = _taught(early, (few, last_ones), asked, say, again)
    return Validation(taught=taught, foretold=known)


def _some_users(early: Dataset, late: Impressions, seed: int) -> np.ndarray:
    """Users who choose again: all of them, or as many as take MOST_SCORES scores."""
    users = np.unique(np.concatenate([early.log.user, late.user]))
    scores = (len(early.log) + len(late)) * early.catalogue.size
    n = max(int(len(users) * min(MOST_SCORES / scores, 1.0)), FEWEST)
    return generator("users who choose again", seed).permutation(users)[:n]


def _learning(
    early: Dataset,
    late: Impressions,
    asked: Asked,
    say: Say,
    answered_again: Callable[[int], Impressions],
) -> Learning | str:
    """Of a log with skips: the same slates, answered by the users."""
    n = len(early.log)

    def again(seed: int) -> tuple[Impressions, Impressions]:
        rows = answered_again(seed)
        return rows.rows(slice(n)), rows.rows(slice(n, None))

    return _taught(early, (early.log, late), asked, say, again)


def _taught(
    early: Dataset,
    real: tuple[Impressions, Impressions],
    asked: Asked,
    say: Say,
    again: Callable[[int], tuple[Impressions, Impressions]],
) -> Learning | str:
    if not asked.learners:
        return "nobody was asked to learn (--learners)"
    say(f"models learn from real and from simulated answers: {', '.join(asked.learners)}")
    return learning(early, real, again, asked.learners, asked.seeds, asked.seed, asked.threads, say)


def against_second_log(
    data: Dataset, other: Dataset, asked: Asked, places: list[Difference], say: Say
) -> Validation:
    """Users fitted to the whole of one log answer another one.

    Args:
        places: what is known of where the pages of both were shown.
    """
    if asked.kind == "matrix":
        raise InputError("--user-model matrix knows one log alone; validate factors")
    in_terms_of(data, other, asked.seed)  # refusals come before the fit
    users = users_of(data, asked, say)
    say("the second log, answered by the users")
    second = tested(users, data, other, places, asked.slate_size, asked.seed)
    return Validation(second=second, counted=users.counted)


def _feedback(
    data: Dataset,
    users: Users,
    early: Dataset,
    late: Impressions,
    answers: tuple[Replay, Replay, dict[str, float]],
    asked: Asked,
    say: Say,
) -> list[Fidelity]:
    """Every kind of feedback that has enough rows with it and without it, in both parts."""
    predicted, one, unsure = answers
    looked = [users.looked(early, log, asked.slate_size) for log in (early.log, late)]
    day_of = [_day(time, early.hour_zero) for time in (early.log.time, late.time)]
    judged = []
    for name, (column, flag) in FEEDBACK.items():
        if flag not in data.has or name not in predicted:
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
        judged.append(judge(held_out, generator("validate", asked.seed, name)))
    return judged


def _by_levels(y: np.ndarray, early: Dataset, late: Impressions, looked: np.ndarray) -> np.ndarray:
    """(rows,) of a simpler prediction, if looked at: user and item levels alone."""
    log, size = early.log, early.catalogue.size
    rows = Rows(y, log.user, log.item, early.n_users, size, examination=looked)
    simple: np.ndarray = expit(fit_crossed_effects(rows).logits(late.user, late.item))
    return simple


def _user_days(
    users: Users, early: Dataset, late: Impressions, one: Replay, asked: Asked
) -> tuple[float, float, float] | None:
    """Whether held-out user-days can be told from the same ones answered by the users; None with
    too few users, or users of somebody else.
    """
    model = users.one
    if len(np.unique(late.user)) < FEWEST_USERS or not isinstance(model, ChoiceModel):
        return None
    looked = users.looked(early, late, asked.slate_size)
    drawn = answered(model, late, one, looked, asked.seed)
    category = early.catalogue.category
    real, simulated = (user_days(rows, early.hour_zero, category) for rows in (late, drawn))
    rng = generator("replayed user-days", asked.seed)
    return two_sample(real, simulated, rng, features_of(early))


def _day(time: np.ndarray, hour_zero: float) -> np.ndarray:
    return np.floor((time / 3600 + hour_zero) / 24)
