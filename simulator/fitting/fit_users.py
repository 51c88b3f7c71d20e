"""From a log to users: every parameter estimated where the log can tell, assumed with its source
where it cannot.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

import numpy as np
from scipy.special import expit

from policies.common.threads import side_by_side
from policies.draws import generator
from policies.log import Dataset
from simulator.chains.crossed_effects import Chains, Rows, fit_crossed_effects
from simulator.chains.mixing import in_words, mixing
from simulator.fitting import drift
from simulator.fitting.alternatives import (
    check_size,
    matrix_table,
)
from simulator.fitting.arrivals import arrivals
from simulator.fitting.assumed import ASSUMED, unidentified_parameters
from simulator.fitting.calibration import calibrate_shift, check_rate
from simulator.fitting.choices.held_choices import HeldChoices, Space
from simulator.fitting.choices.positive_only import fit_choices
from simulator.fitting.closeness import Chosen
from simulator.fitting.examination import (
    REPEATED,
    Examination,
    assumed_examination,
    fit_examination,
    repeated,
    unseen_variance,
    used_up,
)
from simulator.fitting.factors import cross_fits
from simulator.fitting.posterior import (
    FeedbackPosterior,
    Posterior,
    pilot_fit,
    sample,
)
from simulator.fitting.satiation import SatiationFit, fit_satiation
from simulator.fitting.sessions import watching, widening
from simulator.fitting.tastes import Tastes, rows_apart, tastes_of
from simulator.fitting.visits import PUBLISHED, fit_visits
from simulator.settings import Experiment
from simulator.users.choice_model import OF_MATRIX, ChoiceModel, Parameter

WITHOUT_CLICK = 0.02  # share of the likes above which a like needs no click
TURNS = 3  # of slots and satiation, each with the other known
LEAST_ROWS = 20  # of an item, or `shrunk` users take it for one like the others of its category
FEWEST = 20  # of one kind of feedback, and clicked rows without it, or nothing is estimated
# Parameter: column, and what tells it.
FEEDBACK = {
    "long_view": ("long_view", "long_view"),
    "like": ("liked", "likes"),
    "hate": ("hated", "hates"),
}


def chains_of(experiment: Experiment) -> Chains:
    """The sampler's part of an experiment's settings."""
    e = experiment
    return Chains(e.draws, e.thin, e.seed, e.chains)


def fit_users(
    data: Dataset,
    seed: int = 0,
    slate_size: int = 6,
    say: Callable[[str], None] = lambda text: None,
    kind: str = "factors",
    chains: Chains | None = None,
) -> ChoiceModel:
    """Fits the user model to a log: the first of its plausible draws, its level met.

    Args:
        slate_size: of the slates to come; levels are calibrated for them.
        say: told what is being done.
        kind: of user model, one of `alternatives.KINDS`. chains: of the sampler.
    """
    fitted = fit(data, seed, slate_size, say, kind, chains)
    say("users: calibration to the click rate of uniformly random slates")
    return calibrate_shift(fitted.model(0), data, slate_size, seed)


def fit(
    data: Dataset,
    seed: int,
    slate_size: int,
    say: Callable[[str], None],
    kind: str = "factors",
    chains: Chains | None = None,
) -> Posterior:
    """Everything that a log says of its users, with draws of what is uncertain about them."""
    rng = generator("fit users", seed)
    chains = replace(chains if chains is not None else Chains(), seed=seed)
    check_size(data, kind)
    if kind == "matrix":
        say(f"users: a matrix of {data.n_users} users by {data.catalogue.size} items")
        return Posterior(_matrix_users(data), {}, {}, seed)
    held = HeldChoices.of(data, seed) if "skips" not in data.has else None
    space = held.space() if held is not None else Space()
    tastes = tastes_of(data, kind, seed, rng, say, space.coarse)
    plain = _before_appeal(data, tastes)
    if tastes.parts and held is not None:
        say("users: what is chosen next, among all items")
        none = Parameter(0.0, "assumed", "the log has no skips")
        alike = "assumed", "the log has no skips: all users click alike"
        plain = replace(plain, provenance=plain.provenance | {"user_level": alike})
        return Posterior(
            plain.with_parameters(selection=none),
            tastes.parts,
            tastes.reliability,
            seed,
            choices=fit_choices(data, held, space, tastes.parts["profile"], seed),
            rates=_rates_looked_at(data, plain, slate_size),
        )
    fitted = _posterior_of_shown(data, plain, tastes, slate_size, chains, rng, say)
    if kind == "shrunk":
        rows = np.bincount(data.log.item, minlength=data.catalogue.size + 1)
        fitted = replace(fitted, hardly_shown=rows < LEAST_ROWS)
    return fitted


def _before_appeal(data: Dataset, tastes: Tastes) -> ChoiceModel:
    """Users with all parameters that need no levels: assumed ones, visits, arrivals, watching."""
    reference = _logged_rate(data)
    visits, activity, hours, gap_source = fit_visits(data, reference.value)
    parameters = {name: Parameter(value, "assumed", why) for name, (value, why) in ASSUMED.items()}
    parameters |= tastes.parameters() | {"satisfaction_reference": reference}
    parameters |= visits | arrivals(data) | _rates_given_a_click(data)
    parameters |= watching(data.log, _durations(data), data.has)
    plain = _without_appeal(data, activity, hours, gap_source)
    return _with_parameters(plain, assumed_examination("the log has no slots"), parameters)


def _posterior_of_shown(
    data: Dataset,
    plain: ChoiceModel,
    tastes: Tastes,
    slate_size: int,
    chains: Chains,
    rng: np.random.Generator,
    say: Callable[[str], None],
) -> Posterior:
    """By clicks and skips: examination and satiation in turns, then draws of the crossed effects,
    then drift, then what follows a click.
    """
    say("users: levels of what was shown, slots, satiation")
    log, examination = data.log, assumed_examination("the log has no slots")
    score, followed = pilot_fit(data, tastes.columns, examination.at(log))
    examination, satiation = _examination_and_satiation(
        data, score, examination, bool(tastes.parts)
    )
    seen = (
        examination.at(log)
        if "slots" in data.has
        else np.full(len(log), examination.value[:slate_size].mean())
    )
    x = {**followed, **satiation.columns}
    say("users: draws of levels and tastes")
    click = sample(data, log.clicked, slice(None), x, seen, "click", chains, satiation.curve)
    click = replace(click, wider=_clustered(data, click, x, seen))
    logits, unseen = click.logits(log.user, log.item, x), None
    drifted = None if used_up(data) else drift.drift_of(data, logits, seen)
    parameters = plain.parameters | satiation.parameters
    parameters |= unidentified_parameters(satiation.unidentified)
    parameters |= watching(log, _durations(data), data.has, float(seen.mean()))
    parameters |= drift.as_parameters(drifted)
    near = tastes.near if "closeness" in followed else None
    if near is None:
        parameters["closeness"] = Parameter(0.0, "assumed", "none: clicks do not follow it")
    plain = replace(_with_parameters(plain, examination, parameters), table=tastes.table)
    if tastes.parts and repeated(log, data.catalogue.size) > REPEATED:
        apart = rows_apart(data, cross_fits(data, rng, pairs=True), tastes.units)
        logits = _without_own_answers(data, click, x, apart, seen)
        unseen = unseen_variance(log, data.catalogue.size, logits, seen)
    clicks = Posterior(
        plain,
        tastes.parts,
        tastes.reliability,
        chains.seed,
        feedback={"click": click},
        habits=satiation.habits,
        unseen=unseen,
        near=near,
        last_chosen=None if near is None else Chosen.of(data).latest_of_all(data.n_users),
        examination=examination,
        drifted=drifted,
    )
    feedback, counted = _feedback_posteriors(
        data, logits, clicks.shown, examination, seen, chains, say
    )
    walked = mixing(click.sampled)
    if walked is not None:
        say(f"users: {in_words(walked)}")
        clicks = replace(clicks, plain=replace(clicks.plain, mixing=asdict(walked)))
    return replace(clicks, feedback={"click": click, **feedback}, without_click=counted)


def _with_parameters(
    plain: ChoiceModel, examination: Examination, parameters: dict[str, Parameter]
) -> ChoiceModel:
    """With these numbers, and slots as likely to be looked at."""
    provenance = plain.provenance | {"examination": examination.provenance}
    return replace(
        plain, parameters=parameters, examination=examination.value, provenance=provenance
    )


def _without_own_answers(
    data: Dataset,
    click: FeedbackPosterior,
    x: dict[str, np.ndarray],
    apart: dict[str, np.ndarray],
    seen: np.ndarray,
) -> np.ndarray:
    """(rows,) logits of a click by a taste that has seen no answer of the user to the item, scaled
    to what clicks follow.

    Args:
        apart: name -> (rows,) that taste.
    """
    none = np.zeros(len(data.log), np.int64)
    without = {name: np.zeros(len(none)) for name in apart}
    rest = click.logits(data.log.user, data.log.item, x | without)
    rows = Rows(data.log.clicked, none, none + 1, 1, 1, {"rest": rest, **apart}, seen)
    return fit_crossed_effects(rows).logits(none, none + 1, rows.x)


def _examination_and_satiation(
    data: Dataset, score: np.ndarray, examination: Examination, habits: bool
) -> tuple[Examination, SatiationFit]:
    """Examination, and what takes from appeal; each is fitted with the other known, in turns.

    Args:
        score: (rows,) logit of a click of a rested user. habits: whether habits of the policy are
            wanted.
    """
    satiation = SatiationFit({}, None, {}, np.zeros(len(score)), score, None, {})
    tires = "sessions" in data.has and not used_up(data)
    for _ in range(TURNS if "slots" in data.has and tires else 1):
        if "slots" in data.has:
            examination = fit_examination(data, score, satiation.offset)
        if tires:
            satiation = fit_satiation(data, score, examination.value, habits, satiation.logits)
    return examination, satiation


def _clustered(
    data: Dataset, click: FeedbackPosterior, x: dict[str, np.ndarray], seen: np.ndarray
) -> dict[str, float]:
    """How much wider errors of slopes are as a user's clicks in a category go together beyond what
    is fitted.
    """
    log, category = data.log, data.catalogue.category.astype(np.int64)
    p = expit(click.logits(log.user, log.item, x))
    chance = seen * p
    information = chance * (1 - p) ** 2 / np.maximum(1 - chance, 1e-9)
    # The derivative of the log-likelihood by the logit.
    slope = np.where(log.clicked, 1 - p, -chance * (1 - p) / np.maximum(1 - chance, 1e-9))
    columns = {name: x[name] for name in click.sampled.names if name in x}
    return widening(
        columns,
        slope,
        information,
        log.user.astype(np.int64) * (int(category.max()) + 1) + category[log.item],
    )


def _matrix_users(data: Dataset) -> ChoiceModel:
    """Users who answer as the log says that they answered: nothing is estimated of what
    they like.
    """
    reference = _logged_rate(data)
    visits, activity, hours, gap_source = fit_visits(data, reference.value)
    parameters = {name: Parameter(value, "assumed", why) for name, (value, why) in ASSUMED.items()}
    parameters |= {"satisfaction_reference": reference} | visits | _rates_given_a_click(data)
    parameters |= watching(data.log, _durations(data), data.has)
    parameters |= {
        name: Parameter(0.0, "assumed", "a matrix has no sessions")
        for name in ("satiation", "repeat_fatigue")
        if name in parameters
    }
    parameters |= {
        "shift": Parameter(0.0, "estimated", OF_MATRIX),
        "taste_scale": Parameter(1.0, "estimated", OF_MATRIX),
        "selection": Parameter(0.0, "estimated", "every pair was observed: nothing was selected"),
    }
    plain = _without_appeal(data, activity, hours, gap_source)
    levels = dict.fromkeys(("user_level", "item_level", "taste"), ("estimated", OF_MATRIX))
    plain = replace(plain, provenance=plain.provenance | levels, table=matrix_table(data))
    return _with_parameters(plain, assumed_examination("a matrix has no slots"), parameters)


def _rates_looked_at(data: Dataset, plain: ChoiceModel, k: int) -> tuple[float, float | None]:
    """Click rates of random slates and of the log's, once looked at, of a log without skips; None
    where nobody says the second.
    """
    random, examination = data.calibration["random_click_rate"][0], plain.examination
    seen = check_rate("random_click_rate", random, examination, k)
    if "logged_click_rate" not in data.calibration:
        return random / seen, None
    logged = data.calibration["logged_click_rate"][0]
    check_rate("logged_click_rate", logged, examination, k)
    return random / seen, logged / seen


def _feedback_posteriors(
    data: Dataset,
    logits: np.ndarray,
    shown: tuple[float, float, float],
    examination: Examination,
    seen: np.ndarray,
    chains: Chains,
    say: Callable[[str], None],
) -> tuple[dict[str, FeedbackPosterior], dict[str, float]]:
    """Long views, likes and hates, where the log tells them; and by how much those outside of
    clicks exceed the clicked ones.

    What was clicked appealed more than its prediction, as far as the prediction does not know the
    taste, and the expectation given the answer stands in for the appeal (regression calibration;
    Carroll et al., 2006, chapter 4). How much there is to know is told by answers to the same pair
    (`unseen_variance`).

    Args:
        logits: (rows,) of the click. shown: of `Posterior`. examination: of the slots, and seen:
            (rows,) probability of being looked at.
    """
    log = data.log
    p = expit(logits)
    variance, error, stretch = shown
    # E[e | y] of e ~ N(0, variance) by Stein's lemma; the mean of the sigmoid's slope is about p (1
    # - p) / stretch.
    appeal = stretch * logits + variance / stretch * (log.clicked - p)
    spread = float(
        (p * (1 - p)).mean()
    )  # what an answer tells of the unknown: its variance given a click is v - v^2 p (1 - p)
    unsure = np.hypot(
        error / stretch * (1 - p[log.clicked].mean()),
        stretch * examination.unsure(log) / (1 - p.mean()),
    )
    asked_of, counted = _asked(data, appeal, p, seen, chains)
    if asked_of:
        say(f"users: {', '.join(f'{name}s' for name in asked_of).replace('_', ' ')}")
    feedback = dict(zip(asked_of, side_by_side(list(asked_of.values())), strict=True))
    for name, posterior in feedback.items():
        slope = abs(posterior.sampled.mean(f"{name}_appeal"))
        feedback[name] = replace(
            posterior,
            unsure=float(slope * unsure),
            beyond=max(variance - variance**2 * spread, 0.0),
        )
    return feedback, counted


def _asked(
    data: Dataset, appeal: np.ndarray, p: np.ndarray, seen: np.ndarray, chains: Chains
) -> tuple[dict[str, Callable[[], FeedbackPosterior]], dict[str, float]]:
    """The chain of each kind of feedback that the log tells, not yet begun; and by how much the
    feedback outside of clicks exceeds the clicked one.

    Args:
        appeal, p, seen: (rows,) expected appeal, click probability, chance of being looked at.
    """
    log = data.log
    counted: dict[str, float] = {}
    asked_of: dict[str, Callable[[], FeedbackPosterior]] = {}
    for name, (column, flag) in FEEDBACK.items():
        y = getattr(log, column)
        alone = name != "long_view" and (y & ~log.clicked).sum() > WITHOUT_CLICK * y.sum()
        asked = np.ones(len(y), bool) if alone else log.clicked
        if flag not in data.has or not FEWEST <= (y & asked).sum() <= asked.sum() - FEWEST:
            continue
        which: np.ndarray | slice = log.clicked
        looked_at: np.ndarray | None = None
        slopes = {f"{name}_appeal": appeal}
        if alone:
            which, slopes[f"{name}_clicked"] = slice(None), log.clicked.astype(float)
            clicks = seen * p  # what was not clicked was looked at less often
            looked_at = np.where(log.clicked, 1.0, (seen - clicks) / np.maximum(1 - clicks, 1e-9))
        else:
            counted[name] = float(np.log(y.sum() / (y & log.clicked).sum()))
        asked_of[name] = partial(sample, data, y, which, slopes, looked_at, name, chains)
    return asked_of, counted


def _rates_given_a_click(data: Dataset) -> dict[str, Parameter]:
    """Long views, likes and hates, one rate for all: of a log without skips, or with too few of
    them to tell more.

    Half of one more yes and of one more no (Haldane, 1956; Anscombe, 1956): what never happened is
    rare, and not what other logs say.
    """
    rates: dict[str, Parameter] = {}
    n = int(data.log.clicked.sum())
    for name, (column, flag) in FEEDBACK.items():
        if flag in data.has and n >= FEWEST:
            yes = float((getattr(data.log, column) & data.log.clicked).sum()) + 0.5
            error = (1 / yes + 1 / (n + 1 - yes)) ** 0.5
            rates[name] = Parameter(
                float(np.log(yes / (n + 1 - yes))), "estimated", "rate, given a click", error
            )
            rates[f"{name}_appeal"] = Parameter(
                0.0, "assumed", "the log does not tell whether it follows the appeal"
            )
    return rates


def _without_appeal(
    data: Dataset, activity: np.ndarray, hours: np.ndarray, gap_source: tuple[str, str]
) -> ChoiceModel:
    """Users to whom nothing appeals more than anything else."""
    n_users, n_items = data.n_users, data.catalogue.size
    of_users, of_items = np.zeros(n_users, np.float32), np.zeros(n_items + 1, np.float32)
    alike = "assumed", "the log does not tell: all alike"
    of_hours = alike if "order_only" in data.has else ("estimated", "visits of the log by hour")
    return ChoiceModel(
        parameters={},
        user_level=of_users,
        activity=activity,
        user_taste=of_users[:, None],
        item_level=of_items,
        item_taste=of_items[:, None],
        user_long_view=of_users,
        item_long_view=of_items,
        user_like=of_users,
        item_like=of_items,
        user_hate=of_users,
        item_hate=of_items,
        category=data.catalogue.category,
        duration=_durations(data),
        examination=np.ones(100),
        hours=hours,
        hour_zero=data.hour_zero,
        provenance={
            "activity": gap_source,
            "hours": of_hours,
            **dict.fromkeys(
                (f"{side}_{name}" for side in ("user", "item") for name in FEEDBACK), alike
            ),
        },
    )


def _logged_rate(data: Dataset) -> Parameter:
    """Click rate of the log's own slates."""
    if "logged_click_rate" in data.calibration:
        value, source = data.calibration["logged_click_rate"]
        return Parameter(value, "assumed", source)
    if "skips" not in data.has:
        value, why = PUBLISHED["logged_click_rate"]
        return Parameter(value, "assumed", f"{why}; the log has no skips")
    rate = float(data.log.clicked.mean())
    per_user = np.bincount(data.log.user, minlength=data.n_users)
    clicks = np.bincount(data.log.user, data.log.clicked, minlength=data.n_users)
    spread = np.sqrt(((clicks - rate * per_user) ** 2).sum()) / per_user.sum()
    return Parameter(rate, "estimated", "click rate of the log", float(spread))


def _durations(data: Dataset) -> np.ndarray:
    """(N + 1,) float32 s; 30 s or the catalogue's median where unknown."""
    seconds = data.catalogue.duration.copy()
    known = np.isfinite(seconds) & (seconds > 0)
    seconds[~known] = np.median(seconds[known]) if known.any() else 30.0
    return seconds
