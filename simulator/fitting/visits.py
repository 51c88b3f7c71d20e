"""When users come, how long they stay and when they return: estimated where a log has whole
sessions, else assumed.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import logit

from policies.common.errors import InputError
from policies.draws import Draws, key_of
from policies.log import Dataset
from simulator.fitting.return_times import Gaps, fit_return_times
from simulator.fitting.sessions import hour_profile, pages_table, staying, visits_table
from simulator.users.choice_model import DAY, Parameter

ACTIVITY_SD = 0.5
PUBLISHED = {
    "logged_click_rate": (0.451, "KuaiRand-Pure, production policy"),
    "sessions_per_day": (2.0, "a moderately used application"),
    "pages_per_session": (4.0, "a moderately used application"),
    "short_gap_share": (0.4, "between KuaiRand-27K (.54) and none"),
}


def fit_visits(
    data: Dataset, reference: float
) -> tuple[dict[str, Parameter], np.ndarray, np.ndarray, tuple[str, str]]:
    """Staying and returning: numbers, (U,) activity, (24,) hours, and where the activity comes
    from.
    """
    pages = pages_table(data.log)
    visits = visits_table(pages)
    hours = (
        np.ones(24)
        if "order_only" in data.has
        else hour_profile(visits["start"].to_numpy(), data.hour_zero)
    )
    parameters = _assumed_visits(data)
    everyone = np.arange(data.n_users)
    spread = Draws(key_of("activity"), everyone, everyone * 0).normal("activity", 1)[:, 0]
    activity = (ACTIVITY_SD * spread).astype(np.float32)
    source = ("assumed", f"log-normal factor on the gaps, sd {ACTIVITY_SD:g}; drawn for each user")
    given = {"sessions_per_day", "pages_per_session", "short_gap_share"} & set(data.calibration)
    if "sessions" not in data.has or given:
        return parameters, activity, hours, source
    parameters |= staying(pages, reference)
    clock = _clock(hours, data.hour_zero)
    since = clock(visits["end"].to_numpy())
    left = clock(np.full(len(visits), float(data.log.time.max()))) - since
    gaps, estimated = fit_return_times(
        Gaps.of(visits, clock(visits["next"].to_numpy()) - since, left, reference), data.n_users
    )
    if not gaps:
        return parameters, activity, hours, source
    return (
        parameters | gaps,
        estimated,
        hours,
        ("estimated", "a draw of each user's factor from what its gaps leave open"),
    )


def _clock(hours: np.ndarray, hour_zero: float) -> Callable[[np.ndarray], np.ndarray]:
    """Clock to operational seconds, as the fitted model will have it."""
    edges = np.concatenate([[0.0], np.cumsum(hours)]) * (DAY / hours.sum())

    def busy(t: np.ndarray) -> np.ndarray:
        day = np.floor((t + hour_zero * 3600) / DAY)
        return day * DAY + np.interp(
            t + hour_zero * 3600 - day * DAY, np.arange(25) * 3600.0, edges
        )

    return busy


def _assumed_visits(data: Dataset) -> dict[str, Parameter]:
    """Staying and returning from published levels: pages per session, sessions per day, share of
    short gaps.
    """

    def level(name: str) -> tuple[float, str]:
        return data.calibration.get(name, PUBLISHED[name])

    pages, pages_source = level("pages_per_session")
    per_day, day_source = level("sessions_per_day")
    short, short_source = level("short_gap_share")
    if not (pages > 1 and per_day > 0 and 0 <= short < 1):
        raise InputError(
            "calibration: pages_per_session above 1, sessions_per_day above 0, short_gap_share in"
            " [0, 1)"
        )
    # Gaps of 30 to 120 minutes: median 1 h. The long ones fill up the day; the mean factor of the
    # users' activity lengthens the average gap, and pages take time too (about half a minute each).
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
    return {name: Parameter(value, "assumed", source) for name, (value, source) in values.items()}
