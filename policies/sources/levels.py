"""Levels that a log cannot tell, given or published: where each comes from, and its bounds."""

import numpy as np

from policies.common.errors import InputError, suggestion
from policies.log import Dataset

# Levels that a log with holes cannot tell; see "calibration" in docs/users.md for each source.
KUAIRAND_LEVELS = {
    "random_click_rate": (
        0.176,
        "KuaiRand-Pure, uniformly random exposures (208,934 of 1,186,049)",
    ),
    "sessions_per_day": (4.84, "KuaiRand-27K, 150.2 sessions per user in 31 days"),
    "pages_per_session": (13.55, "KuaiRand-27K, page loads per session"),
    "short_gap_share": (
        0.54,
        "KuaiRand-27K, gaps of 30 to 120 minutes among the gaps between sessions",
    ),
}
# Click rate of uniformly random items over that of what a policy showed the same users, on six logs
# that hold both (KuaiRand, whose .39 is published, is none of them); the middle is their geometric
# mean.
RANDOM_OVER_LOGGED = (0.22, 0.33, 0.42, 0.67, 0.68, 1.0)
MIDDLE_OF_RATIOS = float(np.exp(np.mean(np.log(RANDOM_OVER_LOGGED))))
LEAST_EFFECTIVE = 500.0  # rows by their propensities (Kish), or published ratios are trusted more
LEAST_SUPPORT = 0.5  # share of a day's items that propensities say could have been shown
LEVEL_NAMES = {  # and between what they lie
    "random_click_rate": (0.0, 1.0),
    "logged_click_rate": (0.0, 1.0),
    "sessions_per_day": (0.0, 1000.0),
    "pages_per_session": (1.0, 1000.0),
    "short_gap_share": (0.0, 1.0),
}


def given_levels(calibration: dict[str, float]) -> dict[str, tuple[float, str]]:
    """Levels of the command line with their source, each within its bounds."""
    for key, value in calibration.items():
        if key not in LEVEL_NAMES:
            raise InputError(f"unknown calibration point '{key}'{suggestion(key, LEVEL_NAMES)}")
        low, high = LEVEL_NAMES[key]
        if not low <= value < high:
            raise InputError(
                f"calibration point {key}={value:g} must be from {low:g} to below {high:g}"
            )
    return {key: (value, "given on the command line") for key, value in calibration.items()}


def generic_level(data: Dataset) -> tuple[float, str]:
    """What uniformly random slates are assumed to be clicked where nothing better is known, and
    why.
    """
    if "skips" not in data.has:
        return (
            0.176,
            (
                "KuaiRand-Pure, uniformly random exposures; this log has no skips and so no level"
                " of its own"
            ),
        )
    known = by_propensity(data)
    if known is not None:
        return known[0], "inverse propensity: the log says how likely each row was shown"
    rate = MIDDLE_OF_RATIOS * float(data.log.clicked.mean())
    why = "the log's click rate times .49, the middle of six logs on which it is known (.22 to 1.0)"
    if np.isfinite(data.log.propensity).all():
        why += ", as its propensities tell too little of items that it hardly shows"
    return rate, f"{why}; set it by --calibrate random_click_rate=..."


def _rows_per_page(data: Dataset) -> float:
    """By which 1 / p is smaller where it is the chance of standing anywhere on a page. Of a logger
    that may show any item, 1 / p of a place is the number of items on average.
    """
    log = data.log
    pages = np.unique(np.stack([log.user, log.session, log.page], axis=1), axis=0)
    return len(log) / max(len(pages), 1)


def _items_of_a_day(data: Dataset) -> float:
    """Different items on an average day: no more than can be shown then."""
    day = np.floor(data.log.time / 86_400).astype(np.int64)
    pairs = np.unique(np.stack([day, data.log.item.astype(np.int64)], axis=1), axis=0)
    return len(pairs) / max(len(np.unique(day)), 1)


def is_generic(data: Dataset) -> bool:
    """Whether nobody says the level of uniformly random slates: it is that of `generic_level`."""
    return data.calibration["random_click_rate"][1] == generic_level(data)[1]


def by_propensity(data: Dataset) -> tuple[float, float] | None:
    """Click rate of uniformly random items by a log that says how likely each row was (SNIPS), and
    its standard error over users; None where it does not tell.
    """
    p = data.log.propensity.astype(float)
    if not (np.isfinite(p) & (p > 0) & (p <= 1)).all():
        return None
    weight = 1 / p
    if weight.mean() < LEAST_SUPPORT * _items_of_a_day(data) / _rows_per_page(data):
        return None
    effective = weight.sum() ** 2 / (weight**2).sum()
    rate = float(weight @ data.log.clicked / weight.sum())
    if effective < LEAST_EFFECTIVE or rate <= 0:
        return None
    by_user = np.bincount(data.log.user, weight * (data.log.clicked - rate)) / weight.sum()
    return rate, float(np.sqrt((by_user**2).sum()))
