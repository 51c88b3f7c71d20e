"""One simulated log judged under many hash salts at once: how often does each method reject?

Valid where nobody's outcome depends on who else is in which arm: with frozen policies. With
retraining on a bucket's own rows an outcome depends on the split, and whole worlds have to be run
again.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.errors import AnalysisError
from analysis.metrics import Metric
from analysis.results.monitoring import Daily, cumulative_values, look_bounds, look_correlation
from analysis.statistics.adjustment import cuped
from analysis.statistics.difference import Difference, mean_difference
from analysis.statistics.summary import Joint

CHUNK = 250  # salts at a time


@dataclass(frozen=True)
class Outcomes:
    """What every user does in the control's world and in the treatment's; for A/A the same twice.

    Attributes:
        control, treatment: total -> (users, days).
        before: total -> (users,) before the test; {} without. came: (users,) 1 for those who came
            then.
    """

    control: dict[str, np.ndarray]
    treatment: dict[str, np.ndarray]
    before: dict[str, np.ndarray]
    came: np.ndarray

    @property
    def days(self) -> int:
        return next(iter(self.control.values())).shape[1]

    @property
    def users(self) -> int:
        return len(self.came)


@dataclass(frozen=True)
class Verdicts:
    """Of each salt.

    Attributes:
        rejected: method -> (salts,) whether it found an effect. day: method -> (salts,) of the
            first crossing, or the last day.
        lift, low, high: method -> (salts,) at the end, of the methods `fixed` and `cuped`. saved:
            (salts,) by CUPED.
    """

    rejected: dict[str, np.ndarray]
    day: dict[str, np.ndarray]
    lift: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    saved: np.ndarray


METHODS = ("fixed", "cuped", "obrien_fleming", "pocock", "cs", "every_day")


def verdicts(
    outcomes: Outcomes, metric: Metric, assigned: np.ndarray, alpha: float = 0.05
) -> Verdicts:
    """Judges one metric under many splits.

    Args:
        assigned: (salts, users) 1 for the treatment, 0 for the control, -1 for neither.

    The methods: `fixed` (a test at the end), `cuped` (with what was known before), the three
    sequential ones at a look a day (on CUPED's estimate where there is one), and `every_day`: the
    fixed test looked at every day, the mistake.
    """
    if not metric.linear:
        raise AnalysisError(f"'{metric.name}' is neither a mean nor a ratio of means")
    parts = [
        _judge(outcomes, metric, assigned[i : i + CHUNK], alpha)
        for i in range(0, len(assigned), CHUNK)
    ]
    joined = {
        name: {
            key: np.concatenate([getattr(p, name)[key] for p in parts])
            for key in getattr(parts[0], name)
        }
        for name in ("rejected", "day", "lift", "low", "high")
    }
    return Verdicts(**joined, saved=np.concatenate([p.saved for p in parts]))


def _judge(outcomes: Outcomes, metric: Metric, assigned: np.ndarray, alpha: float) -> Verdicts:
    looks = [_difference(outcomes, metric, assigned, day) for day in range(1, outcomes.days + 1)]
    raw, best, saved = looks[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.stack([np.nan_to_num(d.statistic) for _, d, _ in looks], axis=1)
    bounds = sequential_bounds(outcomes, metric, alpha)
    rejected = {"fixed": raw.pvalue < alpha, "cuped": best.pvalue < alpha}
    day = {name: np.full(len(assigned), outcomes.days) for name in rejected}
    for name, bound in bounds.items():
        crossed = np.abs(z) >= bound
        rejected[name] = crossed.any(axis=1)
        day[name] = np.where(rejected[name], crossed.argmax(axis=1) + 1, outcomes.days)
    ends = {"fixed": raw, "cuped": best}
    lift, low, high = (
        {n: np.asarray(getattr(d, f)) for n, d in ends.items()}
        for f in ("lift", "lift_low", "lift_high")
    )
    return Verdicts(rejected, day, lift, low, high, np.broadcast_to(saved, len(assigned)))


def sequential_bounds(outcomes: Outcomes, metric: Metric, alpha: float) -> dict[str, np.ndarray]:
    """Method -> (days,) bound of |z|; the correlation of the looks is measured on all users, as
    `monitoring.monitor` does.
    """
    table = pd.DataFrame({"bucket": np.zeros(outcomes.users, int)})
    if outcomes.before:
        table = table.assign(
            **{f"{c}_pre": outcomes.before[c] for c in metric.columns}, came_before=outcomes.came
        )
    values = cumulative_values(
        Daily(table, {c: outcomes.control[c] for c in metric.columns}), metric
    )
    correlation = look_correlation(values, table["bucket"].to_numpy())
    share = np.arange(1, outcomes.days + 1) / outcomes.days
    bounds = {
        method: look_bounds(method, correlation, share, alpha)
        for method in ("obrien_fleming", "pocock", "cs")
    }
    return bounds | {"every_day": np.full(outcomes.days, norm.isf(alpha / 2))}


def _difference(
    outcomes: Outcomes, metric: Metric, assigned: np.ndarray, day: int
) -> tuple[Difference, Difference, np.ndarray | float]:
    """Plain and CUPED-adjusted comparison of the first days, all salts at once; and the variance
    saved.
    """
    before = (
        [outcomes.before[c] for c in metric.columns] + [outcomes.came] if outcomes.before else []
    )
    before = [x for x in before if np.ptp(x) > 0]
    arms = []
    for totals, rows in ((outcomes.control, assigned == 0), (outcomes.treatment, assigned == 1)):
        columns = [totals[c][:, :day].sum(axis=1, dtype=float) for c in metric.columns]
        arms.append(_linear(joint(rows, np.column_stack([*columns, *before])), len(columns)))
    plain = [part.linear(np.eye(part.mean.shape[-1])[0]) for part in arms]
    raw = mean_difference(plain[0], plain[1])
    if not before:
        return raw, raw, 0.0
    reduced = cuped(arms[0], arms[1], theta="within")
    return raw, reduced.adjusted, reduced.variance_saved


def joint(rows: np.ndarray, columns: np.ndarray) -> Joint:
    """Sufficient statistics of many subsets at once.

    Args:
        rows: (salts, users) bool. columns: (users, k).
    """
    weight = rows.astype(float)
    n = weight.sum(axis=1)
    centre = columns.mean(axis=0)  # taken off first, or the squares drown the spread
    x = columns - centre
    k = x.shape[1]
    mean = weight @ x / n[:, None]
    squares = (weight @ (x[:, :, None] * x[:, None, :]).reshape(len(x), k * k)).reshape(-1, k, k)
    covariance = (squares - n[:, None, None] * mean[:, :, None] * mean[:, None, :]) / (n - 1)[
        :, None, None
    ]
    return Joint(n, mean + centre, covariance)


def _linear(part: Joint, outcomes: int) -> Joint:
    """The outcome in the first column: as it is, or a ratio of the first two linearised (delta
    method).
    """
    if outcomes == 1:
        return part
    k = part.mean.shape[-1]
    ratio, bottom = part.mean[..., 0] / part.mean[..., 1], part.mean[..., 1]
    change = np.zeros((*ratio.shape, k - 1, k))
    change[..., 0, 0], change[..., 0, 1] = 1 / bottom, -ratio / bottom
    for i in range(1, k - 1):
        change[..., i, i + 1] = 1.0
    mean = np.einsum("...ij,...j->...i", change, part.mean)
    mean[..., 0] = ratio
    return Joint(part.n, mean, change @ part.covariance @ np.swapaxes(change, -1, -2))


def by_session(
    sessions: np.ndarray, clicks: np.ndarray, squares: np.ndarray, assigned: np.ndarray
) -> np.ndarray:
    """(salts,) p-values of clicks per session if sessions were independent: what not to do.
    `assigned` as in `verdicts`.

    Args:
        sessions, clicks, squares: (users,) how many, clicks in them, and the sum over sessions of
            the squared clicks.
    """
    stats = []
    for rows in (assigned == 0, assigned == 1):
        n, total, square = (rows.astype(float) @ x for x in (sessions, clicks, squares))
        mean = total / n
        stats.append((mean, (square / n - mean**2) / (n - 1)))
    (a, va), (b, vb) = stats
    return 2 * norm.sf(np.abs(b - a) / np.sqrt(va + vb))
