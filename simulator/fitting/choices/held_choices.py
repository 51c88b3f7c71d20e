"""Choices held out of a log that tells what was chosen alone, beside items that their users had not
chosen: what taste and closeness by all other choices say of them, and in which spaces of the items
they say most.

Taste is told best by few dimensions. How close an item is to what was chosen last is told by few
and by many together: what goes with what is finer than what kind of thing people like.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import logsumexp

from policies.draws import generator
from policies.log import Dataset
from simulator.fitting.closeness import Chosen, closeness, near_vectors, together
from simulator.fitting.factors import (
    Taste,
    TasteSettings,
    fit_taste,
    likeness,
    profile,
    stepped_up,
    unit_of,
)

FEWEST_CHOICES = 3  # of a user whose last one is held out
MOST_HELD_OUT, ALTERNATIVES = 3000, 500
FEWEST_HELD_OUT = 200  # or the usual factors are taken
MOST_FINE = 1_000_000  # choices for which the fine space is fitted
WIDE = 3.0  # prior sd of a coefficient, per standard deviation of its column
PARTS = 20  # of the log's time, over which what is popular changes
COLUMNS = ("popularity", "recent", "profile", "closeness")
USUAL = TasteSettings()
MORE = TasteSettings(width=32, penalty=20.0, confidence=40.0)
FINE = TasteSettings(width=128, penalty=10.0, confidence=40.0)


@dataclass(frozen=True)
class Space:
    """In which space of the items taste is told, and closeness.

    Attributes:
        coarse: of taste and closeness. fine: of closeness besides; None = of no more. share: of the
            fine space in closeness.
    """

    coarse: TasteSettings = USUAL
    fine: TasteSettings | None = None
    share: float = 0.0

    def near(self, coarse: Taste, fine: Taste | None, before: np.ndarray, seed: int) -> np.ndarray:
        """(N + 1, D) vectors of the items, as `closeness.near_vectors` makes them."""
        rng = generator("unit of closeness", seed)
        vectors = near_vectors(coarse, before, rng)
        if fine is None or not self.share:
            return vectors
        return together(vectors, near_vectors(fine, before, rng), self.share, before, rng)


SPACES = Space(), Space(USUAL, FINE), Space(MORE), Space(MORE, FINE)


@dataclass(frozen=True)
class HeldChoices:
    """Choices held out.

    Attributes:
        data: the log. chosen: its choices. held: (n,) where the ones held out stand in it.
            items: (n, 1 + ALTERNATIVES) these, and items drawn uniformly. had: (n, ALTERNATIVES)
            which of them the user had chosen.
    """

    data: Dataset
    chosen: Chosen
    held: np.ndarray
    items: np.ndarray
    had: np.ndarray
    seed: int
    _fits: dict[TasteSettings, Taste] = field(default_factory=dict)

    @staticmethod
    def of(data: Dataset, seed: int) -> "HeldChoices":
        """The last choices of users with enough of them, MOST_HELD_OUT at most: those of items that
        they had not chosen before, as only such stand beside them.
        """
        chosen = Chosen.of(data)
        enough = np.bincount(chosen.user, minlength=data.n_users)[chosen.user] >= FEWEST_CHOICES
        new = first_times(chosen.user, chosen.item)
        return HeldChoices.at(data, chosen, np.flatnonzero(chosen.last & enough & new), seed)

    @staticmethod
    def at(data: Dataset, chosen: Chosen, held: np.ndarray, seed: int) -> "HeldChoices":
        """Some of these choices, MOST_HELD_OUT at most."""
        rng = generator("held-out choices", seed)
        held = np.sort(rng.permutation(held)[:MOST_HELD_OUT])
        n, user, item = data.catalogue.size, chosen.user, chosen.item
        other = rng.integers(1, n + 1, (len(held), ALTERNATIVES))
        own = sp.csr_matrix((np.ones(len(user)), (user, item)), shape=(data.n_users, n + 1))
        had = np.zeros(other.size, bool)
        if len(held):
            had = np.asarray(own[np.repeat(user[held], ALTERNATIVES), other.ravel()]).ravel() > 0
        items = np.concatenate([item[held][:, None], other], axis=1)
        return HeldChoices(data, chosen, held, items, had.reshape(other.shape), seed)

    @property
    def before(self) -> np.ndarray:
        """(n, LAST) what the users chose before."""
        return self.chosen.latest(self.chosen.user[self.held], self.held)

    @property
    def _kept(self) -> np.ndarray:
        kept = np.ones(len(self.chosen.user), bool)
        kept[self.held] = False
        return kept

    def fit(self, s: TasteSettings) -> Taste:
        """Factors of all other choices; once for each settings."""
        if s not in self._fits:
            kept, of = self._kept, self.chosen
            sizes = self.data.n_users, self.data.catalogue.size
            seed = int(generator("factors of other choices", self.seed).integers(2**31))
            self._fits[s] = fit_taste(of.user[kept], of.item[kept], *sizes, seed, s)
        return self._fits[s]

    def columns(self, space: Space) -> np.ndarray:
        """(n, 1 + ALTERNATIVES, columns) of each choice and its alternatives by what the other
        choices tell; NaN for those that the user had chosen.
        """
        fine = None if space.fine is None else self.fit(space.fine)
        near = space.near(self.fit(space.coarse), fine, self.before, self.seed)
        close = closeness(near, self.before, self.items)
        columns = np.stack([*self._levels(), self._profile(space.coarse), close], axis=-1)
        columns[:, 1:][self.had] = np.nan
        return columns

    def _levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Popularity, and popularity at that time."""
        kept, of, items = self._kept, self.chosen, self.items
        item, time = of.item[kept], of.time[kept]
        count = np.bincount(item, minlength=self.data.catalogue.size + 1).astype(float)
        popular, recent = np.log1p(count), np.zeros(items.shape)
        if "order_only" not in self.data.has:
            edges = parts_of_time(time)
            now = np.searchsorted(edges, of.time[self.held])
            recent = recent_of(item, time, edges, items, now)
        return popular[items] - popular[1:].mean(), recent

    def _profile(self, s: TasteSettings) -> np.ndarray:
        kept, of = self._kept, self.chosen
        taste = profile(self.fit(s), of.user[kept], of.item[kept])
        unit = unit_of(taste, generator("unit of taste", self.seed))
        scores: np.ndarray = unit * taste.score(of.user[self.held][:, None], self.items)
        return scores

    def space(self) -> Space:
        """Of SPACES that which tells the choices best: by the likelihood of a conditional logit,
        fitted to one half of them and asked of the other, in turns.
        """
        if len(self.held) < FEWEST_HELD_OUT:
            return SPACES[0]
        many = len(self.chosen.user) > MOST_FINE
        tried = [s for s in SPACES if not (many and s.fine is not None)]
        return self._with_share(max(tried, key=lambda s: likelihood(self.apart(s))))

    def apart(self, space: Space) -> np.ndarray:
        """Columns with closeness by each space."""
        columns = self.columns(replace(space, fine=None))
        if space.fine is None:
            return columns
        near = near_vectors(
            self.fit(space.fine), self.before, generator("unit of closeness", self.seed)
        )
        fine = closeness(near, self.before, self.items)
        fine[:, 1:][self.had] = np.nan
        return np.concatenate([columns, fine[..., None]], axis=-1)

    def _with_share(self, space: Space) -> Space:
        if space.fine is None:
            return space
        slopes = np.maximum(conditional_logit(self.apart(space))[0][-2:], 0.0)
        total = float(slopes.sum())
        return replace(space, share=float(slopes[1] / total)) if total > 0 else Space(space.coarse)


def first_times(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """(n,) bool, of choices in order: the first of its user of this item."""
    pair = user.astype(np.int64) << 32 | item.astype(np.int64)
    new = np.zeros(len(pair), bool)
    new[np.unique(pair, return_index=True)[1]] = True
    return new


def likelihood(columns: np.ndarray) -> float:
    """Of all held-out choices, each half by slopes of the other."""
    halves = columns[::2], columns[1::2]
    total = 0.0
    for fitted, test in (halves, halves[::-1]):
        there = np.isfinite(test[..., 0])
        slopes = conditional_logit(fitted)[0]
        eta = np.where(there, np.where(there[..., None], test, 0.0) @ slopes, -np.inf)
        total += float((eta[:, 0] - logsumexp(eta, axis=1)).sum())
    return total


def reliability(data: Dataset, space: Space, seed: int) -> float:
    """Share of the variance of closeness, over random pairs of items, that another log of the same
    users would find again: by halves of the choices, stepped up to the whole.
    """
    rng, chosen = generator("reliability of closeness", seed), Chosen.of(data)
    pairs = np.unique(np.column_stack([chosen.user, chosen.item]), axis=0)
    half = rng.random(len(pairs)) < 0.5
    some = rng.permutation(np.unique(pairs[:, 1]))[:5000]
    before, sizes = chosen.latest_of_all(data.n_users), (data.n_users, data.catalogue.size)
    tables = []
    for user, item in (pairs[half].T, pairs[~half].T):
        fits = [
            None if s is None else fit_taste(user, item, *sizes, int(rng.integers(2**31)), s)
            for s in (space.coarse, space.fine)
        ]
        assert fits[0] is not None
        tables.append(likeness(space.near(fits[0], fits[1], before, seed)[some]))
    return stepped_up(*tables)


def parts_of_time(time: np.ndarray) -> np.ndarray:
    """(parts - 1,) s: edges between PARTS parts of as many choices each; of those of the log, whose
    times are known.
    """
    inside = time[np.isfinite(time)]
    if not len(inside):
        return np.zeros(1)
    edges: np.ndarray = np.quantile(inside, np.linspace(0, 1, PARTS + 1)[1:-1])
    return edges


def recent_of(
    item: np.ndarray, time: np.ndarray, edges: np.ndarray, items: np.ndarray, part: np.ndarray
) -> np.ndarray:
    """(n, K) logarithm of how often the items (n, K) were chosen about a part of the time (n,):
    what is shown is what is new or popular just then.
    """
    n = int(max(item.max(initial=0), items.max(initial=0))) + 1
    at = 1 + np.searchsorted(edges, time)
    count = sp.csr_matrix((np.ones(len(item)), (at, item)), shape=(len(edges) + 3, n))
    both = (count[part] + count[part + 1]).tocsr()
    rows = np.repeat(np.arange(len(part)), items.shape[1])
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
    if not used.any():
        return np.zeros(len(sd)), np.zeros((len(sd),) * 2)
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
