"""User and item levels of a yes-or-no answer among what was shown: a logistic regression with two
crossed random effects.

`fit_crossed_effects` finds the mode by Fisher scoring (penalised quasi-likelihood, Breslow and
Clayton, 1993). It is fast, and shrinks too much where users have few rows. `sample_crossed_effects`
goes on from there with a Metropolis-within-Gibbs sampler; each of its draws is a plausible set of
levels, as spread as the users and items really are, where point estimates are less spread. The
levels come from mixtures of two normals, since few users and items are far below the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit
from torch.nn.functional import logsigmoid

RARE = 0.05  # share of yeses: rare answers leave more open, and a mean over few draws is noisy
FEWEST_DRAWS, MOST_NUMBERS = 50, 4e7  # kept of a chain
# Rows times draws, about, that a chain may look at between two draws that are kept; and up to which
# it makes two sweeps at least.
WORK, TWICE = 2e7, 7e7
# prior sd of a fixed effect, per standard deviation of its column: keeps separable rows finite
WIDE = 5.0
MOST_LEVEL = 12.0  # logits
LEAST_BURN = 150  # sweeps
TUNED = (10, 30, 80)  # sweeps of the burn-in after which steps are fitted anew
# of a random walk in standard deviations: accepts about .44 in one dimension (Gelman et al., 1996)
STEP = 2.4
SLIDES = 5  # a sweep, of a slope against levels: they look at no row
SPREAD = 0.25  # of levels, which the prior of their spread is about
ALMOST = 1 - 2.0**-23  # the most likely click of float32 that leaves the skip a logarithm


@dataclass(frozen=True)
class Curve:
    """A column whose shape depends on a number, which is drawn along with its slope.

    Attributes:
        name: of the column. at: (G,) values of the number, evenly spaced. columns: (G, rows)
            float32 the column there.
        start: the number that is drawn from first.
    """

    name: str
    at: np.ndarray
    columns: np.ndarray
    start: float

    def column(self, at: float) -> np.ndarray:
        """(rows,) float64, between the two nearest."""
        place = float(np.interp(at, self.at, np.arange(len(self.at))))
        k = min(int(place), len(self.at) - 2)
        from simulator.chains import loops  # numba takes most of a second

        return loops.between(self.columns[k], self.columns[k + 1], place - k)


@dataclass(frozen=True)
class Rows:
    """Answers and what they depend on.

    Attributes:
        y: (rows,) bool. user, item: (rows,) integers below `n_users` and `n_items + 1`.
        x: name -> (rows,) further columns.
        examination: (rows,) probability that the row was looked at: P(y) = examination *
            sigmoid(logit); None = 1.
        curve: of a column of `x`, which is its start.
        tight: name -> standard deviation of a column's slope before the rows, where it is not
            `WIDE`.
        traits: name -> (group, (size,) values) of columns that are the same for all rows of a user
            (group 0) or of an item (1).
    """

    y: np.ndarray
    user: np.ndarray
    item: np.ndarray
    n_users: int
    n_items: int
    x: dict[str, np.ndarray] = field(default_factory=dict)
    examination: np.ndarray | None = None
    curve: Curve | None = None
    tight: dict[str, float] = field(default_factory=dict)
    traits: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict)

    @property
    def seen(self) -> np.ndarray:
        return (
            np.ones(len(self.y))
            if self.examination is None
            else np.asarray(self.examination, np.float64)
        )

    def columns(self) -> np.ndarray:
        """(rows, 1 + columns) with the intercept first."""
        return np.column_stack([np.ones(len(self.y)), *self.x.values()])

    def prior(self) -> np.ndarray:
        """(1 + columns,) precision of the fixed effects before the rows."""
        wide = np.array([1.0, *(column.var() for column in self.x.values())]) / WIDE**2
        for i, name in enumerate(self.x, 1):
            if name in self.tight:
                wide[i] = 1 / self.tight[name] ** 2
        return wide

    def taken(self, which: np.ndarray) -> "Rows":
        """These rows, in this order."""
        return replace(
            self,
            y=self.y[which],
            user=self.user[which],
            item=self.item[which],
            x={name: column[which] for name, column in self.x.items()},
            examination=None if self.examination is None else self.examination[which],
            curve=(
                None
                if self.curve is None
                else replace(self.curve, columns=self.curve.columns[:, which])
            ),
        )

    def groups(self) -> list[tuple[np.ndarray, int]]:
        return [(self.user, self.n_users), (self.item, self.n_items + 1)]


@dataclass(frozen=True)
class CrossedEffects:
    """Logits: fixed effects + user + item levels.

    Attributes:
        fixed: name -> coefficient; "" is the intercept.
        user: (U,), item: (N + 1,) float64 levels, around 0.
        user_sd, item_sd: the estimated spread of the levels.
    """

    fixed: dict[str, float]
    user: np.ndarray
    item: np.ndarray
    user_sd: float
    item_sd: float

    def logits(
        self, user: np.ndarray, item: np.ndarray, x: dict[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Of these users and items; `x` as in `Rows`, all its columns or none where there were
        none.
        """
        logits: np.ndarray = self.fixed[""] + self.user[user] + self.item[item]
        for name, column in (x or {}).items():
            logits = logits + self.fixed[name] * column
        return logits


def fit_crossed_effects(
    rows: Rows, iterations: int = 80, tolerance: float = 1e-3
) -> CrossedEffects:
    """The mode of the levels and of the fixed effects, the spreads estimated on the way."""
    y, seen, design, prior = rows.y.astype(float), rows.seen, rows.columns(), rows.prior()
    rate = float(np.clip(y.mean(), 1e-4, 1 - 1e-4))
    beta = np.zeros(design.shape[1])
    beta[0] = logit(min(rate / float(seen.mean()), 0.999))
    user, item = np.zeros(rows.n_users), np.zeros(rows.n_items + 1)
    user_var, item_var = 0.25, 0.25
    for _ in range(iterations):
        before = np.array([*beta, user_var, item_var])
        slope, weight = _score(design @ beta + user[rows.user] + item[rows.item], y, seen)
        beta, item, item_var = _joint_step(
            design, beta, prior, rows.item, item, item_var, slope, weight
        )
        slope, weight = _score(design @ beta + user[rows.user] + item[rows.item], y, seen)
        precision = np.bincount(rows.user, weight, minlength=len(user)) + 1 / user_var
        user = _bounded(
            user
            + (np.bincount(rows.user, slope, minlength=len(user)) - user / user_var) / precision
        )
        user_var = _variance(user, precision, rows.user)
        if np.abs(np.array([*beta, user_var, item_var]) - before).max() < tolerance:
            break
    return CrossedEffects(
        dict(zip(["", *rows.x], beta.tolist(), strict=True)),
        user,
        item,
        user_var**0.5,
        item_var**0.5,
    )


def _joint_step(
    design: np.ndarray,
    beta: np.ndarray,
    prior: np.ndarray,
    group: np.ndarray,
    level: np.ndarray,
    variance: float,
    slope: np.ndarray,
    weight: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    """One scoring step of the fixed effects and of one group's levels together, the levels
    eliminated.

    Columns that are the same for all rows of an item would converge slowly one after the other.
    """
    size = len(level)
    precision = np.bincount(group, weight, minlength=size) + 1 / variance
    pull = np.bincount(group, slope, minlength=size) - level / variance
    across = np.column_stack(
        [np.bincount(group, weight * column, minlength=size) for column in design.T]
    )
    inner = (
        (design * weight[:, None]).T @ design
        - across.T @ (across / precision[:, None])
        + np.diag(prior)
    )
    # The least squares solution: where every user has one item of its own, a column can be had from
    # the levels.
    step = np.linalg.lstsq(
        inner, design.T @ slope - across.T @ (pull / precision) - prior * beta, rcond=1e-12
    )[0]
    level = _bounded(level + (pull - across @ step) / precision)
    return (
        _bounded(beta + step, 4 / np.sqrt(np.maximum(prior, 1e-12))),
        level,
        _variance(level, precision, group),
    )


def _bounded(x: np.ndarray, most: np.ndarray | float = MOST_LEVEL) -> np.ndarray:
    """Where answers are decided for sure, scoring would run away: a logit of 12 is as good as any
    larger.
    """
    bounded: np.ndarray = np.clip(x, -most, most)
    return bounded


def _variance(level: np.ndarray, precision: np.ndarray, group: np.ndarray) -> float:
    """The expected square of the levels that have rows: of the mode, and of what is uncertain about
    it.
    """
    there = np.bincount(group, minlength=len(level)) > 0
    return float(
        np.clip((level[there] ** 2 + 1 / precision[there]).mean(), 1e-4, (MOST_LEVEL / 2) ** 2)
    )


def _score(x: np.ndarray, y: np.ndarray, examination: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First derivative of the log-likelihood by the logit, and its expected information."""
    p = expit(x)
    rest = np.maximum(1 - examination * p, 1e-9)
    return (y - examination * p) * (1 - p) / rest, examination * p * (1 - p) ** 2 / rest


# -- draws -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class CrossedEffectsDraws:
    """Draws from the posterior, one after the other, not independent of each other.

    Attributes:
        names: of the fixed effects, "" first.
        fixed: (draws, columns) float64. user: (draws, U), item: (draws, N + 1) float32.
        curved: (draws,) the number of the curve; none without one. sizes: (draws,) of its
            column, over that of the start. curve: its name. chains: that the draws are from, as
            many of each, one chain after the other.
    """

    names: tuple[str, ...]
    fixed: np.ndarray
    user: np.ndarray
    item: np.ndarray
    curved: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sizes: np.ndarray | None = None
    curve: str = ""
    chains: int = 1

    def __len__(self) -> int:
        return len(self.fixed)

    @staticmethod
    def together(parts: Sequence["CrossedEffectsDraws"]) -> "CrossedEffectsDraws":
        """The draws of several chains."""
        first = parts[0]
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("fixed", "user", "item", "curved", "sizes")
            if getattr(first, name) is not None
        }
        return replace(first, **arrays, chains=len(parts))

    def mean(self, name: str) -> float:
        return float(self.fixed[:, self.names.index(name)].mean())

    def mean_of_start(self, name: str) -> float:
        """Mean of the slope on the column as it was given, whatever shape a draw gave it."""
        slopes = self.fixed[:, self.names.index(name)]
        return float(
            (slopes * self.sizes).mean()
            if name == self.curve and self.sizes is not None
            else slopes.mean()
        )

    def error(self, name: str) -> float:
        """Posterior standard deviation."""
        return float(self.fixed[:, self.names.index(name)].std(ddof=1))


def wide(sd: np.ndarray) -> np.ndarray:
    """What a spread costs in the prior, as of a half-normal of one logit (Gelman, 2006)."""
    cost: np.ndarray = sd**2 / 2
    return cost


@dataclass
class _Mixture:
    """Two normals, as the levels are spread; (2,) each."""

    weight: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    @property
    def variance(self) -> float:
        """Of a level."""
        middle = float(self.weight @ self.mean)
        return float(self.weight @ (self.sd**2 + self.mean**2)) - middle**2

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Up to a constant."""
        parts = (
            np.log(self.weight / self.sd)[:, None]
            - 0.5 * ((x - self.mean[:, None]) / self.sd[:, None]) ** 2
        )
        total: np.ndarray = np.logaddexp(parts[0], parts[1])
        return total

    def draw(self, level: np.ndarray, rng: np.random.Generator) -> None:
        """New parameters given the levels (n,): which of the two each is from, then weights, means
        and spreads.
        """
        parts = (
            np.log(self.weight / self.sd)[:, None]
            - 0.5 * ((level - self.mean[:, None]) / self.sd[:, None]) ** 2
        )
        second = rng.random(len(level)) < expit(parts[1] - parts[0])
        self.weight = rng.dirichlet([(~second).sum() + 10.0, second.sum() + 10.0])
        for k, inside in enumerate((~second, second)):
            x, n = level[inside], int(inside.sum())
            centre = x.mean() if n else 0.0
            # s^2 | levels, a weak prior as of four more levels with a spread of a quarter; what the
            # prior of the mean adds to the sum of squares is left out, it is less than one level's.
            spread = ((x - centre) ** 2).sum() + 4 * SPREAD**2
            sd = np.sqrt(spread / rng.chisquare(n + 3))
            if np.log(rng.random()) < wide(self.sd[k]) - wide(sd):  # the rest of the prior
                self.sd[k] = sd
            self.mean[k] = centre * n / (n + 1) + self.sd[k] / np.sqrt(n + 1) * rng.normal()


@dataclass(frozen=True)
class Chains:
    """How chains walk.

    Attributes:
        draws: kept of a chain, three times as many of rare answers, fewer where memory is short.
        thin: sweeps per draw at most; few rows leave much open, and cost little.
        seed: of their chance. number: of chains, which share the draws.
    """

    draws: int = 200
    thin: int = 8
    seed: int = 0
    number: int = 1

    def draws_for(self, rows: Rows) -> int:
        """How many draws of these rows are kept."""
        wanted = 3 * self.draws if rows.y.mean() < RARE else self.draws
        room = MOST_NUMBERS / (rows.n_users + rows.n_items)
        return int(min(wanted, max(room, min(FEWEST_DRAWS, wanted))))

    def thin_for(self, rows: Rows, draws: int) -> int:
        """Sweeps per draw."""
        looks = max(len(rows.y), 1) * draws
        sweeps = max(round(WORK / looks), min(round(TWICE / looks), 2))
        return int(np.clip(sweeps, 1, self.thin))


def sample_crossed_effects(
    rows: Rows,
    rng: np.random.Generator,
    draws: int | None = None,
    thin: int | None = None,
    chains: Chains | None = None,
) -> CrossedEffectsDraws:
    """Draws of fixed effects and levels from their posterior.

    Args:
        draws: how many are kept, after as many sweeps from the mode as 20 draws take. thin: sweeps
            per draw. None = as the chains have it.
    """
    chains = chains if chains is not None else Chains()
    if draws is None:
        draws = chains.draws_for(rows)
    if thin is None:
        thin = chains.thin_for(rows, draws)
    chain = _Chain(rows, fit_crossed_effects(rows), rng)
    fixed, users, items, curved, sizes = [], [], [], [], []
    burn = max(20 * thin, min(LEAST_BURN, 2 * draws))
    for sweep in range(burn + draws * thin):
        if sweep in TUNED and sweep < burn:
            chain.tune()
        chain.sweep()
        if sweep >= burn and (sweep - burn) % thin == thin - 1:
            fixed.append(chain.beta.copy())
            users.append(chain.levels[0].astype(np.float32))
            items.append(chain.levels[1].astype(np.float32))
            if rows.curve is not None:
                curved.append(chain.bend)
                sizes.append(chain.size)
    drawn = ("", *rows.x), np.array(fixed), np.array(users), np.array(items)
    if rows.curve is None:
        return CrossedEffectsDraws(*drawn)
    return CrossedEffectsDraws(*drawn, np.array(curved), np.array(sizes), rows.curve.name)


class _Chain:
    """The state of the sampler, which draws all unknowns of this model in turns.

    With r a row, u its user, i its item, e its examination (1 where all was looked at)::

        P(y_r = 1)       = e_r sigmoid(x_r)
        x_r              = beta' d_r + a_u + b_i          d_r: 1 and the columns, of which one, the
                                                          curve, has a shape that depends on h
        a_u ~ sum_k w_k N(m_k, s_k^2),  k = 1, 2          b_i likewise, with parameters of its own
        w   ~ Dirichlet(10, 10)
        s_k^2            ~ scaled inverse chi-square(3, .25^2 4 / 3), times exp(-s_k^2 / 2): few
                           answers do not make levels of several logits
        m_k | s_k        ~ N(0, s_k^2)
        beta_c           ~ N(0, (5 / sd of column c)^2)
        h                ~ uniform between the ends of the curve

    A sweep (`sweep`) draws a, its mixture, b, its mixture, beta, and h, each given the rest. Two
    moves more let it mix: all levels of a group and their mixture are stretched together, and the
    slope of what is the same for all rows of a user or item is moved against their levels (Yu and
    Meng, J. Computational and Graphical Statistics 2011). The likelihood of every row (`fit`) and
    its logit (`x`) are kept and moved along.
    """

    def __init__(self, rows: Rows, start: CrossedEffects, rng: np.random.Generator):
        # The yeses first, so that each kind is looked at with its own formula alone.
        order = np.argsort(~rows.y, kind="stable")
        # The data: y, e, d; and where all unknowns start, at the mode.
        self.rows = rows = rows.taken(order)
        self.rng, self.yes = rng, int(rows.y.sum())
        self.examination = torch.from_numpy(rows.seen.astype(np.float32))
        self.log_examination = self.examination[: self.yes].log()
        design = rows.columns()
        self.columns = np.ascontiguousarray(design.T)  # (columns, rows): each is read as a whole
        self.beta = np.array(list(start.fixed.values()))
        self.levels = [start.user.copy(), start.item.copy()]
        self.there = [np.bincount(index, minlength=size) > 0 for index, size in rows.groups()]
        spreads = (start.user_sd, start.item_sd)
        self.priors = [
            _Mixture(np.full(2, 0.5), sd * np.array([-0.4, 0.4]), np.full(2, sd)) for sd in spreads
        ]
        self.x = self._along(self.beta) + start.user[rows.user] + start.item[rows.item]
        self.prior = rows.prior()
        self.fit = self._log_likelihood(self.x)
        weight = self.tune()
        if rows.curve is not None:
            self._start_bending(weight)

    def tune(self) -> np.ndarray:
        """Fits all steps to where the chain is; (rows,) the information there. For the burn-in
        alone: a chain that goes on changing its steps has another posterior.
        """
        rows = self.rows
        _, weight = _score(self.x, rows.y.astype(float), rows.seen)
        # The proposal of beta: the inverse of its information, and a root of that.
        information = (self.columns * weight) @ self.columns.T + np.diag(self.prior)
        self.covariance = np.linalg.inv(information)
        self.root = np.linalg.cholesky(self.covariance)
        # The width of each level's step: its own posterior standard deviation, about; and how far
        # all are stretched at once.
        self.steps, self.stretch = [], []
        for (index, size), level, prior in zip(
            rows.groups(), self.levels, self.priors, strict=True
        ):
            known = np.bincount(index, weight, minlength=size) + 1 / prior.variance
            self.steps.append(STEP / np.sqrt(known))
            self.stretch.append(STEP / float(weight @ level[index] ** 2 + 1.0) ** 0.5)
        return weight

    def _start_bending(self, weight: np.ndarray) -> None:
        """Where the number of the curve starts, and how far it walks."""
        curve = self.rows.curve
        assert curve is not None
        self.bent, self.bend = 1 + list(self.rows.x).index(curve.name), curve.start
        self.size = 1.0  # of the column, over that of the start
        near = curve.at[1] - curve.at[0]
        low, high = max(self.bend - near, curve.at[0]), min(self.bend + near, curve.at[-1])
        turned = (curve.column(high) - curve.column(low)) / (high - low)
        column = self.columns[self.bent]
        # by changing the slope along, most of a turn can be had
        beside = column @ (weight * column)
        turned = turned - column * (turned @ (weight * column)) / max(beside, 1e-9)
        information = self.beta[self.bent] ** 2 * float(turned @ (weight * turned))
        self.stride = STEP / np.sqrt(information + 1 / float(np.ptp(curve.at)) ** 2)

    def _along(self, beta: np.ndarray) -> np.ndarray:
        """(rows,) what these coefficients bring. By torch: numpy's product of a tall matrix and a
        vector takes five times as long where its BLAS has no kernel for the processor.
        """
        along: np.ndarray = (torch.from_numpy(beta) @ torch.from_numpy(self.columns)).numpy()
        return along

    def _against(self, values: np.ndarray) -> np.ndarray:
        """(columns,) sums of these values (rows,) times each column."""
        sums: np.ndarray = (torch.from_numpy(self.columns) @ torch.from_numpy(values)).numpy()
        return sums

    def _log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """(rows,) of log p where yes, log(1 - examination * p) where not."""
        logits = torch.from_numpy(x.astype(np.float32, copy=False))
        out = torch.empty_like(logits)
        yes, no = logits[: self.yes], logits[self.yes :]
        out[: self.yes] = logsigmoid(yes)
        if self.rows.examination is None:
            out[self.yes :] = logsigmoid(-no)
        else:
            out[: self.yes] += self.log_examination
            clicks = torch.sigmoid(no, out=out[self.yes :])
            clicks.mul_(self.examination[self.yes :]).clamp_(max=ALMOST).neg_().log1p_()
        log_likelihood: np.ndarray = out.numpy()
        return log_likelihood

    def _slope(self, x: np.ndarray) -> np.ndarray:
        """(rows,) derivative of the log-likelihood by the logits."""
        p = torch.sigmoid(torch.from_numpy(x.astype(np.float32)))
        slope = 1 - p
        if self.rows.examination is None:
            slope[self.yes :] = -p[self.yes :]
        else:
            seen = self.examination[self.yes :] * p[self.yes :]
            slope[self.yes :] *= -seen / (1 - seen).clamp_(min=1e-9)
        wide: np.ndarray = slope.double().numpy()
        return wide

    def sweep(self) -> None:
        """One draw of every unknown given the others."""
        for g, (index, size) in enumerate(self.rows.groups()):
            # a | b, beta, h, y, by a Metropolis step of each level; then the same for b.
            self._walk(g, index, size)
            # w, m, s | a: which normal each level is from, then its parameters, by Gibbs.
            self.priors[g].draw(self.levels[g][self.there[g]], self.rng)
        for name, (g, values) in self.rows.traits.items():
            for _ in range(SLIDES):
                self._slide(1 + list(self.rows.x).index(name), g, values)
        self._lean()
        # a - mean(a), b - mean(b), and the intercept takes both: x stays, and the chain mixes.
        for g in range(2):
            middle = float(self.levels[g][self.there[g]].mean())
            self.levels[g] -= middle
            self.priors[g].mean -= middle
            self.beta[0] += middle
        # s a, s m, s s | b, beta, h, y; then the same of b.
        for g in range(2):
            self._stretch(g)
        # h | a, b, y, and the slope of its column along with it.
        if self.rows.curve is not None:
            self._bend(self.rows.curve)

    def _lean(self) -> None:
        """beta | a, b, h, y: a Metropolis step by the normal approximation around the mode, where
        the slope of the likelihood points to it.
        """
        pull = self._against(self._slope(self.x)) - self.prior * self.beta
        z = self.rng.normal(size=len(pull))
        step = self.covariance @ pull + self.root @ z
        moved = self.x + self._along(step)
        fit = self._log_likelihood(moved)
        back = self._against(self._slope(moved)) - self.prior * (self.beta + step)
        reverse = np.linalg.solve(self.root, -step - self.covariance @ back)
        gain = float((fit - self.fit).sum()) + 0.5 * float(z @ z - reverse @ reverse)
        gain -= 0.5 * float(self.prior @ ((self.beta + step) ** 2 - self.beta**2))
        if np.log(self.rng.random()) < gain:
            self.beta, self.x, self.fit = self.beta + step, moved, fit

    def _bend(self, curve: Curve) -> None:
        """A Metropolis step of the number of the curve, flat between its ends; the slope keeps the
        column's size.
        """
        at = self.bend + self.stride * self.rng.normal()
        if not curve.at[0] < at < curve.at[-1]:
            return
        old, slope = self.columns[self.bent], self.beta[self.bent]
        new = curve.column(at)
        size = np.linalg.norm(old) / max(float(np.linalg.norm(new)), 1e-12)
        moved = self.x + slope * (size * new - old)
        fit = self._log_likelihood(moved)
        gain = float((fit - self.fit).sum()) + np.log(size)  # the volume changes as the slope does
        gain += 0.5 * self.prior[self.bent] * slope**2 * (1 - size**2)
        if np.log(self.rng.random()) < gain:
            self.bend, self.x, self.fit = at, moved, fit
            self.columns[self.bent], self.beta[self.bent] = new, slope * size
            self.size /= float(size)
            # The slope is measured in other units now, and so is its step.
            self.covariance[self.bent] *= size
            self.covariance[:, self.bent] *= size
            self.root[self.bent] *= size

    def _stretch(self, g: int) -> None:
        """A Metropolis step of the size of all levels of a group, their mixture along with them.

        The volume that levels and means gain is what their densities lose. What remains is the
        prior of the two spreads.
        """
        index, _ = self.rows.groups()[g]
        prior, log = self.priors[g], self.stretch[g] * self.rng.normal()
        by = float(np.exp(log))
        moved = self.x + (by - 1) * self.levels[g][index]
        fit = self._log_likelihood(moved)
        gain = float((fit - self.fit).sum()) - 3 * len(prior.sd) * log
        gain -= 0.5 * 4 * SPREAD**2 * float((1 / (by * prior.sd) ** 2 - 1 / prior.sd**2).sum())
        gain -= float((wide(by * prior.sd) - wide(prior.sd)).sum())
        if np.log(self.rng.random()) < gain:
            self.x, self.fit = moved, fit
            self.levels[g] = by * self.levels[g]
            prior.mean, prior.sd = by * prior.mean, by * prior.sd

    def _slide(self, column: int, g: int, values: np.ndarray) -> None:
        """A Metropolis step of a slope against the levels of a group, which leaves every logit as
        it is: who has no rows is moved, too.
        """
        prior, level, there = self.priors[g], self.levels[g], self.there[g]
        precision = float(prior.weight @ prior.sd**-2)
        information = float(values[there] @ values[there]) * precision + self.prior[column]
        step = STEP / information**0.5 * self.rng.normal()
        moved = level - step * values
        gain = float((prior.log_density(moved) - prior.log_density(level))[there].sum())
        slope = self.beta[column]
        gain -= 0.5 * self.prior[column] * ((slope + step) ** 2 - slope**2)
        if np.log(self.rng.random()) < gain:
            self.levels[g] = np.where(there, moved, level)
            self.beta[column] += step

    def _walk(self, g: int, index: np.ndarray, size: int) -> None:
        """A Metropolis step of every level of one group; they are independent given the other
        group.
        """
        from simulator.chains import loops

        move = self.steps[g] * self.rng.normal(size=size)
        gained = self._log_likelihood(loops.moved(self.x, index, move))
        gain = loops.gains(gained, self.fit, index, size)
        old, new = self.levels[g], self.levels[g] + move
        gain += self.priors[g].log_density(new) - self.priors[g].log_density(old)
        taken = np.log(self.rng.random(size)) < gain
        self.levels[g] = np.where(taken, new, old)
        loops.accept(self.x, self.fit, index, move, gained, taken)
