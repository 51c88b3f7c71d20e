"""The log of an experiment: checked against its settings, moved before the warm-up, thinned."""

from dataclasses import replace

import numpy as np
import pandas as pd

from policies.common.errors import InputError
from policies.draws import Draws, key_of
from policies.log import Dataset, Impressions
from policies.sources.datasets import load
from policies.sources.levels import LEVEL_NAMES, given_levels
from simulator.experiment.built_in import load_world
from simulator.fitting.alternatives import MATRIX_SHARE
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel, replays


def load_data(e: Experiment) -> Dataset:
    """The log of an experiment, checked against its settings."""
    levels = calibration_of(e)
    if e.log.startswith("world:"):
        if e.columns is not None or e.click_threshold is not None:
            raise InputError(
                "--columns and --click-threshold are for logs in files; the built-in world needs"
                " neither"
            )
        seed = e.log.removeprefix("world:") or "0"
        if not seed.isdigit():
            raise InputError(f"--log '{e.log}': wanted world: or world:SEED, such as world:7")
        data = load_world(int(seed))[0]
        data = replace(data, calibration={**data.calibration, **given_levels(levels)})
    else:
        data = load(e.log, e.columns, e.click_threshold, levels)
    available = int(data.catalogue.available(0.0).sum())
    if available < e.slate_size:
        raise InputError(
            f"the log has {available} items, fewer than a slate of {e.slate_size}; use a smaller"
            " --slate-size"
        )
    if available < e.slate_size + e.repeat_after:
        raise InputError(
            f"the log has {available} items; slates of {e.slate_size} with"
            f" repeat_after={e.repeat_after} need {e.slate_size + e.repeat_after}: use --set"
            f" repeat_after={available - e.slate_size} or less"
        )
    return data


def page_length(data: Dataset) -> int | None:
    """Items per page of the log, as the median; None where it does not show whole sessions."""
    if "sessions" not in data.has:
        return None
    log = data.log
    pages = pd.DataFrame({"user": log.user, "session": log.session, "page": log.page}).value_counts(
        sort=False
    )
    return int(np.clip(np.median(pages.to_numpy()), 1, 100))


def size_note(e: Experiment, data: Dataset) -> tuple[str, ...]:
    """A sentence where slates are longer or shorter than the log's pages."""
    length = page_length(data)
    if length is None or length == e.slate_size:
        return ()
    said = (
        f"The log's pages hold {length} {'item' if length == 1 else 'items'}, the slates here"
        f" {e.slate_size}: people see {e.slate_size / length:.3g} times as much per page as in the"
        f" log (--slate-size {length} for the log's own)."
    )
    if length == 1:
        said += (
            " Rows count as one page where they share a second, or the page that --columns names."
        )
    return (said,)


def calibration_of(e: Experiment) -> dict[str, float]:
    """`--calibrate name=value,...` as numbers."""
    found = {}
    for pair in (e.calibrate or "").split(","):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if name not in LEVEL_NAMES:
            raise InputError(
                f"--calibrate '{pair}': wanted name=value with a name of {', '.join(LEVEL_NAMES)}"
            )
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError(f"--calibrate '{pair}': '{value}' is no number") from None
    return found


def before_warmup(data: Dataset, e: Experiment, share: float = 1.0) -> Dataset:
    """The same data set with its last event at the start of the warm-up, time 0 being the start of
    the test.

    Args:
        share: of the pairs of users and items that are kept, drawn by the seed.
    """
    shift = e.warmup_days * DAY
    log = _thinned(replace(data.log, time=data.log.time - shift), share, e.seed)
    history = _thinned(replace(data.history, time=data.history.time - shift), share, e.seed)
    return replace(
        data, log=log, history=history, hour_zero=(data.hour_zero + 24 * e.warmup_days) % 24
    )


def policy_share(e: Experiment, model: ChoiceModel) -> float:
    """Of the log's pairs that policies learn from."""
    if not replays(model):
        return 1.0 if e.policy_share is None else e.policy_share
    if e.policy_share == 1:
        raise InputError(
            "users replay this log's matrix: policies that learn from all of it have seen the"
            " truth; lower policy_share"
        )
    return MATRIX_SHARE if e.policy_share is None else e.policy_share


def _thinned(log: Impressions, share: float, seed: int) -> Impressions:
    if share >= 1:
        return log
    place = Draws(key_of("policy share", seed), log.user, log.item).uniform("pair", 1)[:, 0]
    return log.rows(place < share)
