"""Staying, returning and enjoying, estimated from a log; each returns numbers with standard errors."""

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture
from statsmodels.tools.sm_exceptions import PerfectSeparationError

from policies.log import Impressions
from simulator.users import DAY, Number

SECONDS_PER_ITEM = 2.0


def logistic(y: np.ndarray, columns: dict[str, np.ndarray], source: str) -> dict[str, Number]:
    """Maximum likelihood of a logistic regression with an intercept (named ""), as numbers.

    Columns that do not vary are left out. Returns nothing where the fit cannot be had (no variation in y,
    perfect separation).
    """
    usable = {name: x for name, x in columns.items() if np.ptp(x) > 1e-9}
    if len(y) < 10 * (len(usable) + 1) or not 0 < y.mean() < 1:
        return {}
    design = np.column_stack([np.ones(len(y)), *usable.values()])
    try:
        fitted = sm.GLM(y.astype(float), design, family=sm.families.Binomial()).fit()
    except (PerfectSeparationError, np.linalg.LinAlgError, ValueError):
        return {}
    if not np.isfinite(fitted.bse).all():
        return {}
    return {
        name: Number(float(value), "estimated", source, float(error))
        for name, value, error in zip(["", *usable], fitted.params, fitted.bse, strict=True)
    }


def pages_table(log: Impressions) -> pd.DataFrame:
    """One row per page: user, session, page, time, share clicked, seconds spent, whether it was the session's last."""
    frame = pd.DataFrame(
        {"user": log.user, "session": log.session, "page": log.page, "time": log.time,
         "clicked": log.clicked, "watched": log.watched}
    )  # fmt: skip
    by = frame.groupby(["user", "session", "page"], sort=True)
    pages = by.agg(
        time=("time", "min"), share=("clicked", "mean"), shown=("clicked", "size"), watched=("watched", "sum")
    )
    pages = pages.reset_index()
    pages["seconds"] = pages["watched"] + SECONDS_PER_ITEM * pages["shown"]
    nxt = pages[["user", "session"]].shift(-1)
    pages["last"] = ~((nxt["user"] == pages["user"]) & (nxt["session"] == pages["session"]))
    return pages


def staying(pages: pd.DataFrame, reference: float) -> dict[str, Number]:
    """Discrete hazard of leaving after a page: first page or later, and the share of it that was clicked."""
    columns = {
        "leave_first_page": (pages["page"] == 0).to_numpy(float),
        "leave_satisfaction": pages["share"].to_numpy() - reference,
    }
    found = logistic(pages["last"].to_numpy(), columns, "logistic hazard per page")
    if "" not in found:
        return {}
    return {"leave": found.pop(""), **found}


def visits_table(pages: pd.DataFrame) -> pd.DataFrame:
    """One row per visit: user, start, end, share clicked, start of the next visit (NaN for the last)."""
    by = pages.assign(end=pages["time"] + pages["seconds"], clicks=pages["share"] * pages["shown"])
    visits = by.groupby(["user", "session"], sort=False).agg(
        start=("time", "min"), end=("end", "max"), clicks=("clicks", "sum"), shown=("shown", "sum")
    )
    visits = visits.reset_index().sort_values(["user", "start"], kind="stable").reset_index(drop=True)
    visits["share"] = visits["clicks"] / visits["shown"]
    same = visits["user"].shift(-1) == visits["user"]
    visits["next"] = visits["start"].shift(-1).where(same)
    return visits


def hour_profile(start: np.ndarray, hour_zero: float) -> np.ndarray:
    """(24,) visits by hour of the day, mean 1, one visit added to each hour."""
    hour = np.floor((start / 3600 + hour_zero) % 24).astype(int)
    counts = np.bincount(hour, minlength=24) + 1.0
    return counts / counts.mean()


def returning(
    visits: pd.DataFrame, busy_gap: np.ndarray, reference: float, n_users: int
) -> tuple[dict[str, Number], np.ndarray]:
    """The gaps between visits: a mixture of two log-normals, shifted by user and by satisfaction; and churn.

    Args:
        busy_gap: (visits,) operational seconds to the next visit, NaN for the last one of a user.

    Returns:
        The numbers, and (n_users,) each user's log factor, shrunk to 0 by its reliability.
    """
    known = np.isfinite(busy_gap)
    activity = np.zeros(n_users, np.float32)
    if known.sum() < 200:
        return {}, activity
    user = visits["user"].to_numpy()[known]
    y = np.log(np.maximum(busy_gap[known], 60.0) / 3600)
    share = visits["share"].to_numpy()[known] - reference
    frame = pd.DataFrame({"user": user, "y": y, "share": share})
    by = frame.groupby("user")
    inner = frame[["y", "share"]] - by[["y", "share"]].transform("mean")
    free = max(len(frame) - by.ngroups - 1, 1)
    slope = float((inner["y"] * inner["share"]).sum() / max((inner["share"] ** 2).sum(), 1e-9))
    noise = float(((inner["y"] - slope * inner["share"]) ** 2).sum() / free)
    slope_error = float(np.sqrt(noise / max((inner["share"] ** 2).sum(), 1e-9)))
    y = y - slope * share
    frame["y"] = y
    mean, count = by["y"].mean(), by.size()
    between = max(float(((mean - y.mean()) ** 2).mean() - (noise / count).mean()), 0.0)
    shrunk = (mean - y.mean()) * between / (between + noise / count)
    activity[shrunk.index.to_numpy()] = shrunk.to_numpy()
    numbers = _mixture(y - activity[user])
    source = "regression of log gaps within users"
    numbers["return_satisfaction"] = Number(slope, "estimated", source, slope_error)
    numbers["activity_sd"] = Number(between**0.5, "estimated", "variance of log gaps between users")
    return numbers, activity


def _mixture(y: np.ndarray) -> dict[str, Number]:
    """Two normals, by EM; standard errors from the numerical Hessian of the log-likelihood at the optimum."""
    fitted = GaussianMixture(2, random_state=0, means_init=[[np.quantile(y, 0.15)], [np.quantile(y, 0.7)]]).fit(
        y[:, None]
    )
    order = np.argsort(fitted.means_[:, 0])
    mean, sd = fitted.means_[order, 0], np.sqrt(fitted.covariances_[order, 0, 0])
    share = fitted.weights_[order][0]
    best = np.array([share, mean[0], sd[0], mean[1], sd[1]])

    def log_likelihood(p: np.ndarray) -> float:
        parts = [
            np.log(w) - np.log(s) - 0.5 * ((y - m) / s) ** 2 for w, m, s in ((p[0], p[1], p[2]), (1 - p[0], p[3], p[4]))
        ]
        return float(logsumexp(parts, axis=0).sum())

    errors = np.sqrt(np.maximum(np.diag(np.linalg.pinv(-_hessian(log_likelihood, best))), 0))
    names = ("gap_short_share", "gap_short_mean", "gap_short_sd", "gap_long_mean", "gap_long_sd")
    source = "mixture of two log-normals (hours between visits, in operational time)"
    return {n: Number(float(v), "estimated", source, float(e)) for n, v, e in zip(names, best, errors, strict=True)}


def _hessian(f, x: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Central differences."""
    h = 1e-3 * np.maximum(np.abs(x), 0.1)
    n = len(x)
    out = np.zeros((n, n))
    unit = np.diag(h)
    for i in range(n):
        for j in range(i, n):
            a, b = unit[i], unit[j]
            value = f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)
            out[i, j] = out[j, i] = value / (4 * h[i] * h[j])
    return out


def churn(visits: pd.DataFrame, end: float, silence: float = 4 * DAY) -> Number | None:
    """Share of visits after which a user stays away: those followed up for `silence` that saw no return.

    The tail of the gaps of those who do return is taken off by the share of returns later than `silence`.
    """
    followed = visits[(end - visits["end"]) >= 2 * silence]
    if len(followed) < 200:
        return None
    gap = followed["next"] - followed["end"]
    gone = ~(gap <= 2 * silence)
    rate = float(gone.mean())
    error = float(np.sqrt(max(rate * (1 - rate), 1 / len(followed)) / len(followed)))
    return Number(rate, "estimated", f"no return within {2 * silence / DAY:.0f} days of a visit", error)


def watching(log: Impressions, duration: np.ndarray, has: frozenset[str]) -> dict[str, Number]:
    """Watch time of what was clicked, for long views and for the others."""
    numbers: dict[str, Number] = {}
    if {"watch", "long_view"} <= has:
        for kind, mask in (("watch_long", log.clicked & log.long_view), ("watch_short", log.clicked & ~log.long_view)):
            numbers |= _watch(kind, log.watched[mask], duration[log.item[mask]])
    return numbers


def _watch(kind: str, watched: np.ndarray, duration: np.ndarray) -> dict[str, Number]:
    """log watch seconds on log duration; zero times are left out."""
    usable = (watched > 0) & np.isfinite(duration) & (duration > 0)
    if usable.sum() < 50:
        return {}
    design = sm.add_constant(np.log(duration[usable].astype(float)), has_constant="add")
    fitted = sm.OLS(np.log(watched[usable].astype(float)), design).fit()
    source = "regression of log seconds on log duration, given a click"
    values = zip(("", "_duration"), fitted.params, fitted.bse, strict=True)
    numbers = {kind + part: Number(float(value), "estimated", source, float(error)) for part, value, error in values}
    sd = float(np.sqrt(fitted.scale))
    numbers[kind + "_sd"] = Number(sd, "estimated", source, sd / np.sqrt(2 * usable.sum()))
    return numbers
