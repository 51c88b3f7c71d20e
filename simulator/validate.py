"""Is the simulator to be believed? Users fitted on the early part of a log, held against its late part.

    python -m simulator.validate --log kuairand:DIR --held-out-days 8

The users answer the very slates that the log shows after the cut; what they do is compared with what happened. Where the
log has whole sessions, their visits are simulated too and held against the log's.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from policies.draws import generator
from policies.errors import InputError
from policies.files import save_json
from policies.log import Dataset, Impressions
from policies.sources import generic_level
from simulator.answers import Fitted
from simulator.calibration import random_by_levels
from simulator.command import Tell, add_fit_flags, with_a_fit
from simulator.config import Experiment
from simulator.fidelity import Answers, Fidelity, judge
from simulator.fit import fit
from simulator.free_running import FreeRunning, free_running
from simulator.levels import Rows, fit_levels
from simulator.replay import repeats, satiation
from simulator.users import DAY, RECENT, ChoiceModel
from simulator.validation_report import free_lights, lights, of_random_slates, write

Replay = dict[str, np.ndarray]
FEWEST = 50  # of a feedback in either part, or it is not judged
FEEDBACK = {
    "click": ("clicked", "skips"), "long view": ("long_view", "long_view"), "like": ("liked", "likes"),
    "hate": ("hated", "hates"),
}  # fmt: skip
ENJOYED = {"long view": "long_view", "like": "like", "hate": "hate"}  # feedback: parameter


def split(data: Dataset, days: int) -> tuple[Dataset, Impressions]:
    """The log before the last `days` calendar days, as a data set that ends at time 0, and those days.

    Raises:
        InputError: one of the two parts is too small to say anything.
    """
    midnight = -(data.hour_zero or 24.0) * 3600  # of the day on which the log ends
    cut = midnight - (days - 1) * DAY
    late = data.log.time >= cut
    if late.sum() < 100 or (~late).sum() < 100:
        span = (data.log.time.max() - data.log.time.min()) / DAY
        raise InputError(
            f"--held-out-days {days} leaves {int((~late).sum())} rows to fit and {int(late.sum())} to compare, of a log of "
            f"{span:.1f} days; wanted at least 100 of each"
        )
    early, after = data.log.rows(~late), data.log.rows(late)
    end = float(early.time.max())
    hour = (data.hour_zero + end / 3600) % 24
    history = _shifted(data.history, end)
    before = replace(data, log=_shifted(early, end), history=history, hour_zero=hour)
    if data.calibration["random_click_rate"] == generic_level(data):  # made from the log: from its early part, then
        before = replace(before, calibration={**data.calibration, "random_click_rate": generic_level(before)})
    return before, _shifted(after, end)


def _shifted(log: Impressions, zero: float) -> Impressions:
    return replace(log, time=log.time - zero)


def seen(model: ChoiceModel, data: Dataset, log: Impressions, slate_size: int) -> np.ndarray:
    """(rows,) probability that each row was looked at: by its slot, or that of an average slot."""
    if "slots" in data.has:
        return model.examination[np.minimum(log.slot, len(model.examination) - 1)]
    return np.full(len(log), model.examination[:slate_size].mean())


def tiredness(model: ChoiceModel, data: Dataset, late: Impressions) -> dict[str, np.ndarray]:
    """(rows of `late`,) by parameter: past exposures and repeats, the early rows behind the late ones."""
    if not {"sessions", "skips"} <= data.has:
        return {}
    both = Impressions.concat([data.log, late])
    reach = model.examination[np.minimum(both.slot, len(model.examination) - 1)]
    past = satiation(both, model.category, reach, model["satiation_half_life_h"])
    return {"satiation": past[len(data.log) :], "repeat_fatigue": repeats(both, RECENT)[len(data.log) :]}


def replayed(fitted: Fitted, data: Dataset, late: Impressions, slate_size: int) -> tuple[Replay, Replay]:
    """(rows,) probability of each feedback, the users being shown the late slates: by all draws, and by one of them."""
    total: Replay = {}
    tired, looked = tiredness(fitted.plain, data, late), seen(fitted.plain, data, late, slate_size)
    for k in range(len(fitted)):
        model = fitted.model(k)
        x = model.appeal(late.user, late.item[:, None])[:, 0].astype(float)
        for name, column in tired.items():
            x -= model[name] * column
        click = looked * expit(x)
        one, mean = {"click": click}, {"click": click}
        for name, parameter in ENJOYED.items():
            draws = [_given(m, parameter, late, x, click, looked) for m in fitted.variants(model, parameter, k)]
            one[name], mean[name] = draws[0], np.mean(draws, axis=0)
        total = {name: total.get(name, 0.0) + p for name, p in mean.items()}
    return {name: p / len(fitted) for name, p in total.items()}, one


def _given(
    model: ChoiceModel, name: str, late: Impressions, x: np.ndarray, click: np.ndarray, looked: np.ndarray
) -> np.ndarray:
    """(rows,) probability of a long view, a like or a hate, with a click or without."""
    logit = model.enjoyment(name, late.user, late.item, x)
    found: np.ndarray = click * expit(logit)
    if f"{name}_without_click" in model.numbers:
        found += (looked - click) * expit(logit + model[f"{name}_without_click"] - model[name])
    return found


def random_slates(fitted: Fitted, early: Dataset, slate_size: int, seed: int) -> dict[str, Any]:
    """Click rate of uniformly random slates as what was shown alone predicts it, beside the level that is calibrated to.

    What a log shows has been selected: pairs that a policy never shows may be worse than levels and taste say.
    """
    some = range(min(len(fitted), 10))
    predicted = [random_by_levels(fitted.model(k), early, slate_size, seed) for k in some]
    level, source = early.calibration["random_click_rate"]
    return {"from_what_was_shown": float(np.mean(predicted)), "calibrated": level, "source": source}


def validate(
    data: Dataset, days: int, seed: int, slate_size: int, say: Callable[[str], None], kind: str = "factors"
) -> tuple[list[Fidelity], dict[str, Any], FreeRunning | None]:
    """Fits on the early part and judges every feedback that the log has on the late part.

    Returns:
        The figures by feedback, `random_slates`, and where the log has whole sessions what free running gives.
    """
    early, late = split(data, days)
    say(f"{len(early.log)} rows to fit, {len(late)} held out")
    if "skips" not in data.has:
        raise InputError(
            f"the log '{data.name}' has no skips: whatever it shows was chosen, and there is no rate to compare; validate on a "
            "log of impressions"
        )
    fitted = fit(early, seed, slate_size, say, kind)
    say("held-out slates, answered by every draw of the users")
    level = random_slates(fitted, early, slate_size, seed)
    predicted, one = replayed(fitted, early, late, slate_size)
    model, found = fitted.plain, []
    for name, (column, flag) in FEEDBACK.items():
        if flag not in data.has:
            continue
        say(f"{name}: simulated against held-out answers")
        happened = getattr(late, column)
        if min(happened.sum(), getattr(early.log, column).sum()) < FEWEST:
            say(f"{name}: fewer than {FEWEST} in one of the parts, too few to judge")
            continue
        rows = Rows(
            getattr(early.log, column), early.log.user, early.log.item, data.n_users, data.catalogue.size,
            reach=seen(model, early, early.log, slate_size),
        )  # fmt: skip
        simple = seen(model, early, late, slate_size) * expit(fit_levels(rows).logits(late.user, late.item))
        answers = Answers(name, late.user, late.item, happened, predicted[name], one[name], {"user + item": simple})
        found.append(judge(answers, generator("validate", seed, name)))
    if not found:
        raise InputError(
            f"the log '{data.name}' has fewer than {FEWEST} clicks before or after the cut; hold out another part"
        )
    if "sessions" not in data.has:
        return found, level, None
    say("free running: sessions and returns simulated too")
    return found, level, free_running(fitted.model(0), early, late, slate_size, seed)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m simulator.validate",
        description="Fit users on the early part of a log and hold their answers to the late slates against what happened: "
        "rates, calibration, discrimination, spread over users and items, sessions and returns, each with a light that says what "
        "to trust.",
        epilog="Example:\n  python -m simulator.validate --log kuairand:DIR --held-out-days 8 --out fidelity",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_fit_flags(p, "fidelity", "the report")
    p.add_argument(
        "--held-out-days", type=int, default=0, help="last calendar days to hold out (default: a third of the log)"
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed half-way, 2 bad input, 130 interrupted.

    A red light is a finding, not a failure.
    """
    given = parser().parse_args(arguments)
    began = time.monotonic()

    def work(e: Experiment, data: Dataset, out: Path, say: Callable[[str], None]) -> Tell:
        span = float(data.log.time.max() - data.log.time.min()) / DAY
        days = given.held_out_days or max(1, round(span / 3))
        found, level, free = validate(data, days, e.seed, e.slate_size, say, e.user_model)
        about: dict[str, Any] = {
            "log": e.log,
            "held_out_days": days,
            "seed": e.seed,
            "user_model": e.user_model,
            "random_slates": level,
        }
        about["seconds"] = round(time.monotonic() - began, 1)
        free_figures = None if free is None else asdict(free)
        save_json(
            out / "fidelity.json", {**about, "feedback": [asdict(f) for f in found], "free_running": free_figures}
        )
        write(found, free, about, out)

        def tell() -> None:
            table = Table("part", "light", "what to trust", box=None, pad_edge=False)
            for part, light, words in [*lights(found), *free_lights(free)]:
                table.add_row(part, light, words)
            Console(width=None if Console().is_terminal else 160).print(table)
            print(of_random_slates(level))
            print(f"report: {out}/fidelity.md")

        return tell

    return with_a_fit(given, work)


if __name__ == "__main__":
    sys.exit(main())
