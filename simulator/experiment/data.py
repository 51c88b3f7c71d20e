"""The log of an experiment: checked against its settings, moved before the warm-up, thinned."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from policies.common.errors import InputError
from policies.draws import Draws, key_of
from policies.log import Dataset, Impressions
from policies.sources.datasets import load_as
from policies.sources.frames import in_a_file
from policies.sources.levels import LEVEL_NAMES, given_levels
from policies.sources.roles import Reading
from simulator.built_in.world import built_in_log
from simulator.fitting.alternatives import MATRIX_SHARE
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel, is_matrix
from simulator.users.strangers import Strangers

RUNS = "runs"  # where runs go unless somebody says so
OF_FILES = ("columns", "click_threshold", "click_when", "time_unit", "watch_unit")


def load_data(experiment: Experiment) -> Dataset:
    """The log of an experiment, checked against its settings."""
    levels = calibration_of(experiment)
    if experiment.log.startswith("world:"):
        given = (getattr(experiment, name) for name in OF_FILES)
        if any(value is not None for value in given):
            raise InputError(
                "--columns, --click-threshold, --click-when, --time-unit and --watch-unit are for"
                " logs in files; the built-in world needs none of them"
            )
        seed = experiment.log.removeprefix("world:") or "0"
        if not seed.isdigit():
            raise InputError(
                f"--log '{experiment.log}': wanted world: or world:SEED, such as world:7"
            )
        data = built_in_log(int(seed))[0]
        data = replace(data, calibration={**data.calibration, **given_levels(levels)})
    else:
        reading = Reading(**{name: getattr(experiment, name) for name in OF_FILES})
        log = in_a_file(experiment.log, Path(RUNS))
        data = load_as(log, reading, levels)
    available = int(data.catalogue.available(0.0).sum())
    if available < experiment.slate_size:
        raise InputError(
            f"the log has {available} items, fewer than a slate of {experiment.slate_size}; use a"
            " smaller --slate-size"
        )
    needed = experiment.slate_size + experiment.repeat_after
    if available < needed:
        raise InputError(
            f"the log has {available} items; slates of {experiment.slate_size} with"
            f" repeat_after={experiment.repeat_after} need {needed}: use --set"
            f" repeat_after={available - experiment.slate_size} or less"
        )
    return data


def page_length(data: Dataset) -> int | None:
    """Items per page of the log, as the median; None where it does not show whole sessions."""
    if "sessions" not in data.has:
        return None
    log = data.log.sorted()
    begins = np.ones(len(log), bool)
    begins[1:] = False
    for column in (log.user, log.session, log.page):  # the rows of a page share its time
        begins[1:] |= column[1:] != column[:-1]
    lengths = np.diff(np.flatnonzero(begins), append=len(log))
    return int(np.clip(np.median(lengths), 1, 100))


def size_note(experiment: Experiment, data: Dataset) -> tuple[str, ...]:
    """A sentence where slates are longer or shorter than the log's pages."""
    length = page_length(data)
    if length is None or length == experiment.slate_size:
        return ()
    note = (
        f"The log's pages hold {length} {'item' if length == 1 else 'items'}, the slates here"
        f" {experiment.slate_size}: people see {experiment.slate_size / length:.3g} times as much"
        f" per page as in the log (--slate-size {length} for the log's own)."
    )
    if length == 1:
        note += (
            " Rows count as one page where they share a second, or the page that --columns names."
        )
    return (note,)


def calibration_of(experiment: Experiment) -> dict[str, float]:
    """`--calibrate name=value,...` as numbers."""
    rates = {}
    for pair in (experiment.calibrate or "").split(","):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if name not in LEVEL_NAMES:
            raise InputError(
                f"--calibrate '{pair}': wanted name=value with a name of {', '.join(LEVEL_NAMES)}"
            )
        try:
            rates[name] = float(value)
        except ValueError:
            raise InputError(f"--calibrate '{pair}': '{value}' is not a number") from None
    return rates


def before_warmup(data: Dataset, experiment: Experiment, share: float = 1.0) -> Dataset:
    """The same data set with its last event at the start of the warm-up, time 0 being the start of
    the test.

    Args:
        share: of the pairs of users and items that are kept, drawn by the seed.
    """
    shift = experiment.warmup_days * DAY
    log = _thinned(_earlier(data.log, shift), share, experiment.seed)
    history = _thinned(_earlier(data.history, shift), share, experiment.seed)
    return replace(
        data,
        log=log,
        history=history,
        hour_zero=(data.hour_zero + 24 * experiment.warmup_days) % 24,
    )


def _earlier(log: Impressions, seconds: float) -> Impressions:
    """A log, earlier by so much and in the same order of time: of two times that would become one,
    being a fraction of a nanosecond apart, the later is moved up to the next number.
    """
    moved = log.time - seconds
    begins = np.flatnonzero(log.time[1:] != log.time[:-1]) + 1
    one = moved[begins] <= moved[begins - 1]
    if not (one & (log.time[begins] > log.time[begins - 1])).any():
        return replace(log, time=moved)
    begins = np.concatenate([[0], begins])
    before, at = log.time[begins], moved[begins]
    grew = before[1:] > before[:-1]
    while (one := grew & (at[1:] <= at[:-1])).any():
        at[1:][one] = np.nextafter(at[:-1][one], np.inf)
    return replace(log, time=np.repeat(at, np.diff(begins, append=len(log))))


def policy_share(experiment: Experiment, model: ChoiceModel | Strangers) -> float:
    """Of the log's pairs that policies learn from."""
    if not is_matrix(model):
        return 1.0 if experiment.policy_share is None else experiment.policy_share
    if experiment.policy_share == 1:
        raise InputError(
            "users replay this log's matrix: policies that learn from all of it have seen the"
            " truth; lower policy_share"
        )
    return MATRIX_SHARE if experiment.policy_share is None else experiment.policy_share


def _thinned(log: Impressions, share: float, seed: int) -> Impressions:
    return log if share >= 1 else log.rows(pair_draw(log, seed) < share)


def pair_draw(log: Impressions, seed: int) -> np.ndarray:
    """(n,) a uniform number for the user and item of each row: policies learn from pairs whose
    number is below their share.
    """
    return Draws(key_of("policy share", seed), log.user, log.item).uniform("pair", 1)[:, 0]
