"""From a log to users: every parameter estimated where the log can tell, assumed with its source where it cannot.

python -m simulator.fit --log kuairand:DIR --out users
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit, logit

from policies.draws import Draws, generator, key_of
from policies.errors import InputError
from policies.log import Dataset
from simulator.appeal import choose_appeal
from simulator.behaviour import (
    SECONDS_PER_ITEM,
    churn,
    enjoyment,
    hour_profile,
    logistic,
    pages_table,
    returning,
    staying,
    visits_table,
)
from simulator.calibration import settle, two_points
from simulator.command import Tell, add_fit_flags, with_a_fit
from simulator.config import Experiment
from simulator.replay import repeats, satiation
from simulator.storage import about_users, save_users
from simulator.users import DAY, RECENT, ChoiceModel, Number

# Defaults for what a log cannot tell; docs/users.md gives the reasoning behind each.
ASSUMED = {
    "satiation": (0.03, "mild: ten exposures to a category cost .3 logits"),
    "satiation_half_life_h": (3.0, "rested by the next day"),
    "repeat_fatigue": (0.5, "one repeat costs half a logit"),
    "leave_first_page": (0.0, "no difference"),
    "leave_satisfaction": (-1.0, "a page of clicks keeps more than a page of none"),
    "return_satisfaction": (-0.3, "satisfied users come back sooner"),
    "churn": (0.0, "nobody leaves for good"),
    "long_view": (0.0, "half of the clicks at even appeal"),
    "long_view_appeal": (0.5, "more where appeal is higher"),
    "like": (-3.3, "KuaiRand-Pure: .0174 likes and .45 clicks per exposure"),
    "like_appeal": (0.3, "more where appeal is higher"),
    "watch_long": (1.0, "20 s to a minute"),
    "watch_long_duration": (0.7, "longer for longer videos"),
    "watch_long_sd": (0.4, "spread of log seconds"),
    "watch_short": (0.2, "a few seconds"),
    "watch_short_duration": (0.4, "longer for longer videos"),
    "watch_short_sd": (0.7, "spread of log seconds"),
    "seconds_per_item": (SECONDS_PER_ITEM, "time to pass over an item"),
}
EXAMINATION_EXPONENT = 0.12
ACTIVITY_SD = 0.5
_LEVELS = {
    "logged_click_rate": (0.451, "KuaiRand-Pure, production policy"),
    "sessions_per_day": (2.0, "a moderately used application"),
    "pages_per_session": (4.0, "a moderately used application"),
    "short_gap_share": (0.4, "between KuaiRand-27K (.54) and none"),
}


def fit_users(
    data: Dataset, seed: int = 0, slate_size: int = 6, say: Callable[[str], None] = lambda text: None
) -> ChoiceModel:
    """Fits the user model to a log.

    Args:
        slate_size: of the slates to come; levels are calibrated for them.
        say: told what is being done.
    """
    rng = generator("fit users", seed)
    say("users: appeal, from what was chosen against what could have been")
    source = "assumed", f"slot ** -{EXAMINATION_EXPONENT:g}; the log has no slots"
    reach = np.arange(1, 101) ** -EXAMINATION_EXPONENT
    appeal, chosen = choose_appeal(data, reach, rng)
    log = data.log
    score = appeal.score(log.user, log.item)
    numbers = {name: Number(value, "assumed", why) for name, (value, why) in ASSUMED.items()}
    if {"slots", "skips"} <= data.has:
        reach, source = (
            _examination(data, score),
            ("estimated", "click rate by slot over the rate that appeal explains"),
        )
    say("users: satiation, staying, returning")
    tired = np.zeros(len(log))
    if {"sessions", "skips"} <= data.has:
        tiredness, tired = _tiredness(data, score, reach)
        numbers |= tiredness
    reference = _logged_rate(data)
    numbers["satisfaction_reference"] = reference
    behaviour, activity, hours, gap_source = _coming_and_going(data, reference.value, numbers, rng)
    numbers |= behaviour
    scale, shift = two_points(data, appeal, reach, tired, reference.value, slate_size, rng)
    level_source = "logistic factor model: clicks against shown and unshown items"
    model = ChoiceModel(
        numbers={**numbers, "scale": scale, "shift": shift},
        user_level=(scale.value * appeal.user_level).astype(np.float32),
        activity=activity,
        user_taste=(scale.value * appeal.user_taste).astype(np.float32),
        item_level=(scale.value * appeal.item_level).astype(np.float32),
        item_taste=appeal.item_taste,
        category=data.catalogue.category,
        duration=_durations(data),
        examination=reach,
        hours=hours,
        hour_zero=data.hour_zero,
        provenance={
            "user_level": ("estimated", level_source),
            "item_level": ("estimated", level_source),
            "taste": ("estimated", f"{level_source}, {chosen.width} dimensions, penalty {chosen.penalty:g}"),
            "examination": source,
            "activity": gap_source,
            "hours": ("estimated", "visits of the log by hour"),
        },
    )
    x = shift.value + scale.value * (score - appeal.base) - tired
    model = model.with_numbers(**enjoyment(log, x, model.duration, data.has))
    say("users: calibration to the click rate of uniformly random slates")
    return settle(model, data, slate_size, seed)


def _logged_rate(data: Dataset) -> Number:
    """Click rate of the log's own slates."""
    if "logged_click_rate" in data.calibration:
        value, source = data.calibration["logged_click_rate"]
        return Number(value, "assumed", source)
    if "skips" not in data.has:
        value, why = _LEVELS["logged_click_rate"]
        return Number(value, "assumed", f"{why}; the log has no skips")
    rate = float(data.log.clicked.mean())
    per_user = np.bincount(data.log.user, minlength=data.n_users)
    clicks = np.bincount(data.log.user, data.log.clicked, minlength=data.n_users)
    spread = np.sqrt(((clicks - rate * per_user) ** 2).sum()) / per_user.sum()
    return Number(rate, "estimated", "click rate of the log", float(spread))


def _durations(data: Dataset) -> np.ndarray:
    """(N + 1,) float32 s; 30 s or the catalogue's median where unknown."""
    seconds = data.catalogue.duration.copy()
    known = np.isfinite(seconds) & (seconds > 0)
    seconds[~known] = np.median(seconds[known]) if known.any() else 30.0
    return seconds


def _examination(data: Dataset, score: np.ndarray) -> np.ndarray:
    """(100,) probability of reaching each slot, relative to the first; falls by construction, flat beyond the log."""
    slot = data.log.slot.astype(np.int64)
    first = slot == 0
    found = logistic(data.log.clicked[first], {"score": score[first]}, "")
    if "score" not in found:
        return np.arange(1, 101) ** -EXAMINATION_EXPONENT
    expected = expit(found[""].value + found["score"].value * score)
    shown = np.bincount(slot, expected)
    clicked = np.bincount(slot, data.log.clicked, minlength=len(shown))
    ratio = np.minimum.accumulate(np.clip(clicked / np.maximum(shown, 1e-9), 0.01, None))
    ratio = np.minimum(ratio / ratio[0], 1.0)
    return np.concatenate([ratio, np.full(max(100 - len(ratio), 0), ratio[-1])])


def _tiredness(data: Dataset, score: np.ndarray, reach: np.ndarray) -> tuple[dict[str, Number], np.ndarray]:
    """Satiation and fatigue from exposures in order, given appeal; and the logits they took from each row."""
    log = data.log
    first = log.slot == 0 if "slots" in data.has else np.ones(len(log), bool)
    again = repeats(log, RECENT)
    y = log.clicked[first]
    best: tuple[float, float, np.ndarray, dict[str, Number]] | None = None
    source = "logistic regression of clicks on past exposures, given appeal"
    for half_life in (1.0, 3.0, 9.0, 24.0):
        past = satiation(log, data.catalogue.category, reach, half_life)
        columns = {"score": score[first], "satiation": past[first], "repeat_fatigue": again[first]}
        found = logistic(y, columns, source)
        if "satiation" not in found:
            continue
        x = found[""].value + sum(found[name].value * column for name, column in columns.items() if name in found)
        likelihood = float(np.where(y, np.log(expit(x)), np.log(expit(-x))).sum())
        if best is None or likelihood > best[0]:
            best = likelihood, half_life, past, found
    if best is None:
        return {}, np.zeros(len(log))
    _, half_life, past, found = best
    numbers = {"satiation_half_life_h": Number(half_life, "estimated", "best of 1, 3, 9 and 24 hours by likelihood")}
    tired = np.zeros(len(log))
    for name, column in (("satiation", past), ("repeat_fatigue", again)):
        if name in found:
            # A pull, not a push: more exposure cannot make an item more appealing in this model.
            numbers[name] = replace(found[name], value=max(-found[name].value, 0.0))
            tired += numbers[name].value * column
    return numbers, tired


def _coming_and_going(
    data: Dataset, reference: float, numbers: dict[str, Number], rng: np.random.Generator
) -> tuple[dict[str, Number], np.ndarray, np.ndarray, tuple[str, str]]:
    """Staying and returning: numbers, (U,) activity, (24,) hours, and where the activity comes from."""
    pages = pages_table(data.log)
    visits = visits_table(pages)
    hours = hour_profile(visits["start"].to_numpy(), data.hour_zero)
    found = _assumed_visits(data)
    everyone = np.arange(data.n_users)
    spread = Draws(key_of("activity"), everyone, everyone * 0).normal("activity", 1)[:, 0]
    activity = (ACTIVITY_SD * spread).astype(np.float32)
    source = ("assumed", f"log-normal factor on the gaps, sd {ACTIVITY_SD:g}; drawn for each user")
    given = {"sessions_per_day", "pages_per_session", "short_gap_share"} & set(data.calibration)
    if "sessions" not in data.has or given:
        return found, activity, hours, source
    found |= staying(pages, reference)
    clock = _clock(hours, data.hour_zero)
    gap = clock(visits["next"].to_numpy()) - clock(visits["end"].to_numpy())
    gaps, estimated = returning(visits, gap, reference, data.n_users)
    if not gaps:
        return found, activity, hours, source
    gone = churn(visits, float(data.log.time.max()))
    found |= gaps | ({"churn": gone} if gone is not None else {})
    return found, estimated, hours, ("estimated", "mean log gap of each user, shrunk by its reliability")


def _clock(hours: np.ndarray, hour_zero: float) -> Callable[[np.ndarray], np.ndarray]:
    """Clock to operational seconds, as the fitted model will have it."""
    edges = np.concatenate([[0.0], np.cumsum(hours)]) * (DAY / hours.sum())

    def busy(t: np.ndarray) -> np.ndarray:
        day = np.floor((t + hour_zero * 3600) / DAY)
        return day * DAY + np.interp(t + hour_zero * 3600 - day * DAY, np.arange(25) * 3600.0, edges)

    return busy


def _assumed_visits(data: Dataset) -> dict[str, Number]:
    """Staying and returning from published levels: pages per session, sessions per day, share of short gaps."""

    def level(name: str) -> tuple[float, str]:
        return data.calibration.get(name, _LEVELS[name])

    pages, pages_source = level("pages_per_session")
    per_day, day_source = level("sessions_per_day")
    short, short_source = level("short_gap_share")
    if not (pages > 1 and per_day > 0 and 0 <= short < 1):
        raise InputError("calibration: pages_per_session above 1, sessions_per_day above 0, short_gap_share in [0, 1)")
    # Gaps of 30 to 120 minutes: median 1 h. The long ones fill up the day; the mean factor of the users' activity
    # lengthens the average gap, and pages take time too (about half a minute each).
    sd_short, sd_long = 0.35, 0.8
    spent = pages * 30 / 3600
    # exp(a), a normal: users visit at rates 1 / exp(a), whose mean is exp(sd^2 / 2).
    mean_gap = max(24 / per_day * np.exp(ACTIVITY_SD**2 / 2) - spent, 1.2)
    short_hours = np.exp(sd_short**2 / 2)
    long_hours = max((mean_gap - short * short_hours) / (1 - short), 1.5)
    values = {
        "leave": (float(logit(1 / pages)), f"{pages:g} pages per session: {pages_source}"),
        "gap_short_share": (short, short_source),
        "gap_short_mean": (0.0, "median 1 h: gaps of 30 to 120 minutes"),
        "gap_short_sd": (sd_short, "most short gaps within 30 to 120 minutes"),
        "gap_long_mean": (
            float(np.log(long_hours) - sd_long**2 / 2),
            f"{per_day:g} sessions per day: {day_source}",
        ),
        "gap_long_sd": (sd_long, "from a few hours to days"),
    }
    return {name: Number(value, "assumed", source) for name, (value, source) in values.items()}


# -- the command ------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m simulator.fit",
        description="Fit simulated users to a log once, say of every parameter whether it was estimated or assumed, and store "
        "them for simulator.run --users-from.",
        epilog="Examples:\n"
        "  python -m simulator.fit --log kuairand:DIR --out users\n"
        "  python -m simulator.fit --log events.csv --columns user=uid,item=iid,time=ts,click=clicked --out users",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_fit_flags(p, "users", "the users")
    return p


def provenance(model: ChoiceModel) -> list[tuple[str, str, str, str, str]]:
    """Rows of name, value, standard error, status and source; arrays by their spread.

    The spread of the taste is that of what it adds to the logit, over random pairs of users and items.
    """
    rows: list[tuple[str, str, str, str, str]] = [
        (name, f"{n.value:.4g}", "" if n.error is None else f"{n.error:.2g}", n.status, n.source)
        for name, n in sorted(model.numbers.items())
    ]
    rng = generator("provenance")
    user, item = rng.integers(0, model.n_users, 20_000), rng.integers(1, model.n_items + 1, 20_000)
    spread = {
        "taste": (model.user_taste[user] * model.item_taste[item]).sum(axis=1).std(),
        "item_level": model.item_level[1:].std(),
    }
    for name, (status, source) in sorted(model.provenance.items()):
        sd = spread[name] if name in spread else getattr(model, name).std()
        rows.append((name, f"sd {sd:.3g}", "", status, source))
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed half-way, 2 bad input, 130 interrupted."""
    given = parser().parse_args(arguments)

    def work(e: Experiment, data: Dataset, out: Path, say: Callable[[str], None]) -> Tell:
        model = fit_users(data, e.seed, e.slate_size, say)
        save_users(out, model, about_users(data, e.slate_size))

        def tell() -> None:
            table = Table("parameter", "value", "s.e.", "status", "source", box=None, pad_edge=False)
            for row in provenance(model):
                table.add_row(*row)
            Console(width=None if Console().is_terminal else 160).print(table)
            for note in data.notes:
                print(f"note: {note}")
            print(f"users: {out}; use them with python -m simulator.run --log ... --users-from {out}")

        return tell

    return with_a_fit(given, work)


if __name__ == "__main__":
    sys.exit(main())
