"""Appeal from a log that holds only what was chosen: the next choice among all items.

Each user's last choice is held out and compared with items that the user had not chosen, by a
conditional logit (McFadden, 1974; uniformly drawn alternatives leave its coefficients what they
are, McFadden, 1978). Popularity tells of exposure and of appeal together, and nothing here takes
them apart: what policies showed often was chosen often. So only the strength of taste and of
closeness is read off the choices; how far the items' levels follow popularity is set.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit, logsumexp

from policies.draws import generator
from policies.log import Dataset
from simulator.fitting.closeness import Chosen, closeness, near_vectors
from simulator.fitting.factors import Taste, fit_taste, profile, unit_of
from simulator.users.choice_model import Parameter

FEWEST_CHOICES = 3  # of a user whose last one is held out
MOST_HELD_OUT, ALTERNATIVES = 3000, 500
# of levels in appeal by the logarithm of choices, as fitted on KuaiRand-Pure, where skips tell it
LEVEL_SLOPE = 0.26
LEVELS = 30  # that are tried
WIDE = 3.0  # prior sd of a coefficient, per standard deviation of its column
PARTS = 20  # of the log's time, over which what is popular changes
COLUMNS = ("popularity", "recent", "profile", "closeness")


@dataclass(frozen=True)
class Choices:
    """What the next choice says of appeal.

    Attributes:
        slopes, covariance: of COLUMNS, in logits per unit.
        chosen: (n, columns) of the choices held out. others: (m, columns) of random pairs.
        popularity: (N + 1,) around 0 over the catalogue. profile: of all choices, standardised.
            near: (N + 1, D), last_chosen: (U, LAST) as of `ChoiceModel`.
    """

    slopes: np.ndarray
    covariance: np.ndarray
    chosen: np.ndarray
    others: np.ndarray
    popularity: np.ndarray
    profile: Taste
    near: np.ndarray
    last_chosen: np.ndarray

    def drawn(self, seed: int, k: int) -> np.ndarray:
        """Draw k of the slopes, none below 0; the first is the estimate."""
        z = generator("slopes of choices", seed, k).normal(size=len(self.slopes)) * (k > 0)
        root = np.linalg.cholesky(self.covariance + 1e-12 * np.eye(len(z)))
        drawn: np.ndarray = np.maximum(self.slopes + root @ z, 0.0)
        return drawn

    def errors(self) -> np.ndarray:
        errors: np.ndarray = np.sqrt(np.diag(self.covariance))
        return errors

    @property
    def steepest(self) -> float:
        """Slope of popularity in choices: of appeal and of exposure together."""
        return float(max(self.slopes[0] + self.slopes[1], 0.0))

    def shift(self, slopes: np.ndarray, level: float, random: float) -> float:
        """At which random pairs have this click rate once looked at.

        Args:
            slopes: of COLUMNS. level: the slope of popularity in appeal.
        """
        x = self.others @ (slopes * TASTES) + level * self.others[:, 0]
        return float(brentq(lambda s: expit(x + s).mean() - random, -40 - x.max(), 40 - x.min()))

    def level_by(self, slopes: np.ndarray, random: float, logged: float) -> float:
        """The least slope of popularity in appeal, between 0 and what choices say, at which the
        log's slates have this click rate once looked at, or come nearest to it.

        What was chosen stood on slates as often as it was chosen over its chance of it, so that the
        slates' rate is the harmonic mean of the chances of what was chosen.
        """
        rest, want = self.chosen @ (slopes * TASTES), float(logit(logged))

        def gap(level: float) -> float:
            x = rest + level * self.chosen[:, 0] + self.shift(slopes, level, random)
            return float(np.log(len(x)) - logsumexp(-x)) - want

        levels = np.linspace(0.0, self.steepest, LEVELS)  # the rate rises, and may fall again
        gaps = np.array([gap(level) for level in levels])
        crossed = np.flatnonzero(gaps[:-1] * gaps[1:] < 0)
        if not len(crossed):
            return float(levels[np.abs(gaps).argmin()])
        return float(brentq(gap, levels[crossed[0]], levels[crossed[0] + 1], xtol=1e-4))


TASTES = np.array([0.0, 0.0, 1.0, 1.0])


def fit_choices(data: Dataset, factors: Taste, own: Taste, seed: int) -> Choices:
    """Slopes of popularity, taste and closeness by the choices that users made last.

    Args:
        factors: of all choices. own: profiles by them, with a standard deviation of 1 over random
            pairs.
    """
    rng = generator("held-out choices", seed)
    chosen = Chosen.of(data)
    enough = np.bincount(chosen.user, minlength=data.n_users)[chosen.user] >= FEWEST_CHOICES
    held = np.sort(rng.permutation(np.flatnonzero(chosen.last & enough))[:MOST_HELD_OUT])
    columns = _columns(data, chosen, held, rng)
    alternatives = columns[:, 1:].reshape(-1, len(COLUMNS))
    alternatives = alternatives[np.isfinite(alternatives[:, 0])]
    slopes, covariance = conditional_logit(columns)
    count = np.bincount(chosen.item, minlength=data.catalogue.size + 1).astype(float)
    popularity = np.log1p(count) - np.log1p(count)[1:].mean()
    popularity[0] = 0.0
    last_chosen = chosen.latest_of_all(data.n_users)
    near = near_vectors(factors, last_chosen, rng)
    some = alternatives[rng.integers(0, len(alternatives), 100_000)] if len(held) else alternatives
    return Choices(slopes, covariance, columns[:, 0], some, popularity, own, near, last_chosen)


def _columns(
    data: Dataset, chosen: Chosen, held: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(held, 1 + ALTERNATIVES, columns) of each choice held out and of items that the user had not
    chosen, NaN for those who had; by what the other choices tell.
    """
    n_items, user, item, time = data.catalogue.size, chosen.user, chosen.item, chosen.time
    early = np.ones(len(user), bool)
    early[held] = False
    before = chosen.latest(user[held], held)
    factors = fit_taste(user[early], item[early], data.n_users, n_items, int(rng.integers(2**31)))
    taste = profile(factors, user[early], item[early])
    near = near_vectors(factors, before, rng)
    other = rng.integers(1, n_items + 1, (len(held), ALTERNATIVES))
    items = np.concatenate([item[held][:, None], other], axis=1)
    popular = np.log1p(np.bincount(item[early], minlength=n_items + 1).astype(float))
    recent = np.zeros(items.shape)
    if "order_only" not in data.has:
        recent = _recent(item[early], time[early], items, time[held])
    columns = np.stack(
        [
            popular[items] - popular[1:].mean(),
            recent,
            unit_of(taste, rng) * taste.score(user[held][:, None], items),
            closeness(near, before, items),
        ],
        axis=-1,
    )
    had = sp.csr_matrix((np.ones(len(user)), (user, item)), shape=(data.n_users, n_items + 1))
    again = np.asarray(had[np.repeat(user[held], ALTERNATIVES), other.ravel()]).reshape(other.shape)
    columns[:, 1:][again > 0] = np.nan
    return columns


def _recent(item: np.ndarray, time: np.ndarray, items: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(n, K) logarithm of how often the items were chosen about that time: what is shown is what is
    new or popular just then.
    """
    inside = time[np.isfinite(time)]
    edges = np.quantile(inside, np.linspace(0, 1, PARTS + 1)[1:-1]) if len(inside) else np.zeros(1)
    part, n = np.searchsorted(edges, time), int(max(item.max(initial=0), items.max(initial=0))) + 1
    count = sp.csr_matrix((np.ones(len(item)), (1 + part, item)), shape=(PARTS + 1, n))
    here = np.searchsorted(edges, now)
    both = (count[here] + count[here + 1]).tocsr()
    rows = np.repeat(np.arange(len(now)), items.shape[1])
    recent: np.ndarray = np.log1p(np.asarray(both[rows, items.ravel()]).reshape(items.shape))
    return recent


def conditional_logit(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (C,) and their covariance: the first of each row was chosen of all that are not NaN.

    Args:
        columns: (n, 1 + others, C).
    """
    there = np.isfinite(columns[..., 0])
    x = np.where(there[..., None], columns, 0.0)
    if not len(x):
        return np.zeros(x.shape[-1]), np.zeros((x.shape[-1],) * 2)
    sd = x[there].std(axis=0)
    used = sd > 1e-9
    x = x[..., used] / sd[used]

    def chances(beta: np.ndarray) -> tuple[np.ndarray, float]:
        eta = np.where(there, x @ beta, -np.inf)
        total = logsumexp(eta, axis=1, keepdims=True)
        return np.exp(eta - total), float((eta[:, :1] - total).sum())

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        p, fit = chances(beta)
        slope = (x[:, 0] - np.einsum("nk,nkc->nc", p, x)).sum(axis=0)
        prior = float(beta @ beta) / (2 * WIDE**2)
        return (prior - fit) / len(x), (beta / WIDE**2 - slope) / len(x)

    beta = minimize(loss, np.zeros(int(used.sum())), jac=True, method="BFGS").x
    p, _ = chances(beta)
    middle = np.einsum("nk,nkc->nc", p, x)
    information = np.einsum("nk,nkc,nkd->cd", p, x, x) - middle.T @ middle
    inverse = np.linalg.inv(information + np.eye(len(beta)) / WIDE**2)
    slopes, covariance = np.zeros(len(sd)), np.zeros((len(sd),) * 2)
    slopes[used] = beta / sd[used]
    covariance[np.ix_(used, used)] = inverse / np.outer(sd[used], sd[used])
    return slopes, covariance


def strengths(found: Choices, slopes: np.ndarray) -> dict[str, Parameter]:
    """Strength of taste and closeness as parameters."""
    n = len(found.chosen)
    why = f"conditional logit of {n} users' last choices among all items"
    if not n:
        none = f"no user has {FEWEST_CHOICES} choices"
        return {name: Parameter(0.0, "assumed", none) for name in ("profile_scale", "closeness")}
    errors = found.errors()
    return {
        name: Parameter(float(slopes[i]), "estimated", why, float(errors[i]))
        for i, name in ((2, "profile_scale"), (3, "closeness"))
    }
