"""Pages, visits, staying and watching, as a log shows them; estimates are numbers with standard
errors.
"""

import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.tools.sm_exceptions import PerfectSeparationError

from policies.log import Impressions
from simulator.users.choice_model import Parameter

SECONDS_PER_ITEM = 2.0
# share of the rows without a click that have a watch time, above which it is simulated
PLAYS_BY_ITSELF = 0.02
ALWAYS = 7.0  # logits: once in a thousand it does not
UNKNOWN = 10.0  # logits per standard deviation of a column: a standard error that says nothing


def logistic(y: np.ndarray, columns: dict[str, np.ndarray], source: str) -> dict[str, Parameter]:
    """Maximum likelihood of a logistic regression with an intercept (named ""), as numbers.

    Columns that do not vary are left out. Returns nothing where the fit cannot be had (no variation
    in y, perfect separation).
    """
    usable = {name: x for name, x in columns.items() if np.ptp(x) > 1e-9}
    if len(y) < 10 * (len(usable) + 1) or not 0 < y.mean() < 1:
        return {}
    design = np.column_stack([np.ones(len(y)), *usable.values()])
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")  # separation shows in the errors, which are looked at
            fitted = sm.GLM(y.astype(float), design, family=sm.families.Binomial()).fit()
    except (PerfectSeparationError, np.linalg.LinAlgError, ValueError):
        return {}
    if not np.isfinite(fitted.bse).all():
        return {}
    known = {
        name: x
        for (name, x), error in zip(usable.items(), fitted.bse[1:], strict=True)
        if error * x.std() < UNKNOWN
    }
    # nobody who differs in it differs in the answer: the log does not tell
    if len(known) < len(usable):
        return logistic(y, known, source)
    return {
        name: Parameter(float(value), "estimated", source, float(error))
        for name, value, error in zip(["", *usable], fitted.params, fitted.bse, strict=True)
    }


def widening(
    x: dict[str, np.ndarray], residual: np.ndarray, weight: np.ndarray, cluster: np.ndarray
) -> dict[str, float]:
    """By how much errors of slopes that allow for clusters exceed those that do not; at least 1.

    The sandwich of Liang and Zeger (Biometrika 1986) over the inverse information, at a fit made
    elsewhere.

    Args:
        x: name -> (rows,) columns. residual: (rows,) answer minus probability. weight: (rows,)
            information of the logit.
        cluster: (rows,) integers; rows of one may depend on each other.
    """
    names = list(x)
    if not names or weight.sum() <= 0:
        return {}
    design = np.column_stack([x[name] - np.average(x[name], weights=weight) for name in names])
    bread = np.linalg.pinv((design * weight[:, None]).T @ design)
    _, row = np.unique(cluster, return_inverse=True)
    scores = np.column_stack([np.bincount(row, column * residual) for column in design.T])
    robust, plain = np.diag(bread @ (scores.T @ scores) @ bread), np.diag(bread)
    return {
        name: float(np.sqrt(max(r / p, 1.0))) if p > 0 else 1.0
        for name, r, p in zip(names, robust, plain, strict=True)
    }


def pages_table(log: Impressions) -> pd.DataFrame:
    """One row per page: user, session, page, time, share clicked, seconds spent, whether it was the
    session's last.
    """
    frame = pd.DataFrame(
        {
            "user": log.user,
            "session": log.session,
            "page": log.page,
            "time": log.time,
            "clicked": log.clicked,
            "watched": log.watched,
        }
    )
    by = frame.groupby(["user", "session", "page"], sort=True)
    pages = by.agg(
        time=("time", "min"),
        share=("clicked", "mean"),
        shown=("clicked", "size"),
        watched=("watched", "sum"),
    )
    pages = pages.reset_index()
    pages["seconds"] = pages["watched"] + SECONDS_PER_ITEM * pages["shown"]
    nxt = pages[["user", "session"]].shift(-1)
    pages["last"] = ~((nxt["user"] == pages["user"]) & (nxt["session"] == pages["session"]))
    return pages


def staying(pages: pd.DataFrame, reference: float) -> dict[str, Parameter]:
    """Discrete hazard of leaving after a page: first page or later, and the share of it that was
    clicked.
    """
    columns = {
        "leave_first_page": (pages["page"] == 0).to_numpy(float),
        "leave_satisfaction": pages["share"].to_numpy() - reference,
    }
    if pages["last"].all() and len(pages):
        return {"leave": Parameter(ALWAYS, "estimated", "every session of the log has one page")}
    hazard = logistic(pages["last"].to_numpy(), columns, "logistic hazard per page")
    if "" not in hazard:
        return {}
    return {"leave": hazard.pop(""), **hazard}


def visits_table(pages: pd.DataFrame) -> pd.DataFrame:
    """One row per visit: user, start, end, share clicked, start of the next visit (NaN for the
    last).
    """
    by = pages.assign(end=pages["time"] + pages["seconds"], clicks=pages["share"] * pages["shown"])
    visits = by.groupby(["user", "session"], sort=False).agg(
        start=("time", "min"), end=("end", "max"), clicks=("clicks", "sum"), shown=("shown", "sum")
    )
    visits = (
        visits.reset_index().sort_values(["user", "start"], kind="stable").reset_index(drop=True)
    )
    visits["share"] = visits["clicks"] / visits["shown"]
    same = visits["user"].shift(-1) == visits["user"]
    visits["next"] = visits["start"].shift(-1).where(same)
    return visits


def hour_profile(start: np.ndarray, hour_zero: float) -> np.ndarray:
    """(24,) visits by hour of the day, mean 1, one visit added to each hour."""
    hour = np.floor((start / 3600 + hour_zero) % 24).astype(int)
    counts = np.bincount(hour, minlength=24) + 1.0
    return counts / counts.mean()


def watching(
    log: Impressions, duration: np.ndarray, has: frozenset[str], looked: float = 1.0
) -> dict[str, Parameter]:
    """Watch time of what was clicked, for long views and for the others; and of the rest, where it
    plays by itself.

    Args:
        looked: share of the rows that were looked at.
    """
    parameters: dict[str, Parameter] = {}
    idle = ~log.clicked
    if (
        "watch" in has
        and idle.any()
        and (share := float((log.watched[idle] > 0).mean())) > PLAYS_BY_ITSELF
    ):
        # of what was not clicked, this was looked at
        rest = max((looked - log.clicked.mean()) / idle.mean(), share)
        n = np.sqrt(idle.sum())
        unclicked = _watch(
            "watch_none", log.watched[idle], duration[log.item[idle]], "without a click"
        )
        why = "share of what was looked at and not clicked that was watched for a moment"
        error = float(np.sqrt(share * (1 - share)) / n / rest)
        if unclicked:
            parameters |= unclicked | {
                "watch_none_share": Parameter(share / rest, "estimated", why, error)
            }
    if {"watch", "long_view"} <= has:
        for kind, mask in (
            ("watch_long", log.clicked & log.long_view),
            ("watch_short", log.clicked & ~log.long_view),
        ):
            parameters |= _watch(kind, log.watched[mask], duration[log.item[mask]])
    return parameters


def _mean_watch(kind: str, y: np.ndarray, source: str) -> dict[str, Parameter]:
    sd = float(y.std(ddof=1))
    return {
        kind: Parameter(float(y.mean()), "estimated", source, sd / np.sqrt(len(y))),
        f"{kind}_sd": Parameter(sd, "estimated", source, sd / np.sqrt(2 * len(y))),
    }


def _watch(
    kind: str, watched: np.ndarray, duration: np.ndarray, given: str = "given a click"
) -> dict[str, Parameter]:
    """log watch seconds on log duration; zero times are left out. Where durations are all the same
    they tell nothing.
    """
    usable = (watched > 0) & np.isfinite(duration) & (duration > 0)
    if usable.sum() < 50:
        return {}
    length = np.log(duration[usable].astype(float))
    if np.ptp(length) < 1e-6:
        y = np.log(watched[usable].astype(float))
        parameters = _mean_watch(kind, y, f"mean of log seconds, {given}")
        return parameters | {
            f"{kind}_duration": Parameter(0.0, "assumed", "the log's durations do not differ")
        }
    design = sm.add_constant(length, has_constant="add")
    fitted = sm.OLS(np.log(watched[usable].astype(float)), design).fit()
    source = f"regression of log seconds on log duration, {given}"
    values = zip(("", "_duration"), fitted.params, fitted.bse, strict=True)
    parameters = {
        kind + part: Parameter(float(value), "estimated", source, float(error))
        for part, value, error in values
    }
    sd = float(np.sqrt(fitted.scale))
    parameters[kind + "_sd"] = Parameter(sd, "estimated", source, sd / np.sqrt(2 * usable.sum()))
    return parameters
