"""What the state of a sequence model says of an answer, beside the levels.

    logit = everything else + of_states' state + near * cos(state, item) + of_items' item
            + state' W item

A logistic regression with normal priors. Items' own part and W are there where they foretell the
answers of users left out clearly better than without: W above all tells of what a policy selected,
and is asked about what it did not.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from policies.answers.measures import auc
from policies.answers.rows import Rows

NEAR_SD = 10.0  # of the slope of the cosine
SIDE_SD = 2.0  # of a slope of a state's or an item's entry, of unit vectors
# Items' own part or not, and the spread of an entry of W; each is tried where the one before helped
MODELS = ((False, 0.0), (True, 0.0), (True, 0.1), (True, 0.3))
RANK = 32
STEPS = 30
LEAST_GAIN = 1e-3  # of the loss of users left out
MOST_ROWS = 50_000
HELD_OUT = 0.25  # of the users
BLOCK = 16_384  # rows whose vectors are held at once


@dataclass
class Reading:
    """See the module.

    Attributes:
        near: slope of the cosine. of_states, of_items: (D,). form: (D, D) W. An update adds to
            them, in the RANK directions of either side that most of its rows take.
    """

    near: float
    of_states: np.ndarray
    of_items: np.ndarray
    form: np.ndarray

    @staticmethod
    def nothing(width: int) -> "Reading":
        return Reading(0.0, np.zeros(width), np.zeros(width), np.zeros((width, width)))

    def logit(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(n,) by unit states and item vectors (n, D)."""
        told: np.ndarray = (self.read(states) * items).sum(axis=1) + states @ self.of_states
        return told

    def of_rows(
        self, page: np.ndarray, item: np.ndarray, states: np.ndarray, vectors: np.ndarray
    ) -> np.ndarray:
        """(n,) of items on pages, by the states of pages (P, D) and all item vectors (N + 1, D)."""
        wanted, own = self.read(states).astype(np.float32), states @ self.of_states
        total = np.empty(len(page))
        for begin in range(0, len(page), BLOCK):
            rows = slice(begin, begin + BLOCK)
            total[rows] = np.einsum("nd,nd->n", wanted[page[rows]], vectors[item[rows]])
        return np.asarray(total + own[page])

    def read(self, states: np.ndarray) -> np.ndarray:
        """(B, D) what states look for: its product with an item's vector is the logit of the item,
        up to what all items share.
        """
        return states @ self.matrix + self.of_items

    @property
    def matrix(self) -> np.ndarray:
        """(D, D) W and the cosine's slope together."""
        return self.near * np.eye(len(self.form)) + self.form

    def update(
        self,
        rows: Rows,
        states: np.ndarray,
        vectors: np.ndarray,
        offset: np.ndarray,
        answer: np.ndarray,
        rng: np.random.Generator,
    ) -> float:
        """Learns from n rows that neither the states' model nor the offset has seen; returns the
        AUC of users left out, nan where there are too few.

        Args:
            states: (P, D) unit vectors of pages. vectors: (N + 1, D) of items. offset: (n,) logits
                of everything else but an intercept. answer: (n,).
        """
        if len(rows) > MOST_ROWS:
            some = np.sort(rng.choice(len(rows), MOST_ROWS, replace=False))
            rows, offset, answer = rows.kept(some), offset[some], answer[some]
        user, weight = rows.user, rows.weight
        states, items = states[rows.page], vectors[rows.item]
        people = np.unique(user)
        held = np.isin(user, people[rng.random(len(people)) < HELD_OUT])
        if held.all() or not held.any() or not 0 < answer[~held].mean() < 1:
            return float("nan")
        told = _Told(states, items, offset + self._beyond(states, items), answer, weight)
        best, chosen, found = np.inf, MODELS[0], told.start(self.near)
        left_out = float("nan")
        for model in MODELS:
            found = told.fitted(*model, weight * ~held, found, self.near)
            score = float(told.losses(found)[held] @ weight[held])
            if score >= best * (1 - LEAST_GAIN):
                break
            best, chosen = score, model
            left_out = auc(told.logit(found)[held], answer[held], weight[held])
        found = told.fitted(*chosen, weight, told.start(self.near), self.near)
        self.near = float(found[1])
        of_states, of_items, form = told.parts(found)
        self.of_states = self.of_states + of_states
        self.of_items, self.form = self.of_items + of_items, self.form + form
        return left_out

    def _beyond(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(n,) the logit without the cosine's part."""
        cosine = (states * items).sum(axis=1)
        return np.asarray(self.logit(states, items) - self.near * cosine)

    def state(self) -> dict[str, np.ndarray]:
        return {
            "near": np.array([self.near]),
            "of_states": self.of_states,
            "of_items": self.of_items,
            "form": self.form,
        }

    @staticmethod
    def from_state(state: dict[str, np.ndarray]) -> "Reading":
        near, *parts = (np.array(state[n]) for n in ("near", "of_states", "of_items", "form"))
        return Reading(float(near[0]), *parts)


def _axes(vectors: np.ndarray) -> np.ndarray:
    """(D, R) the directions in which most of these vectors (n, D) lie, RANK of them at most."""
    moments = vectors.T.astype(np.float64) @ vectors
    return np.linalg.eigh(moments)[1][:, ::-1][:, :RANK]


class _Told:
    """A logistic regression on intercept, cosine, R directions of either side and their products.

    Args:
        states, items: (n, D) unit vectors. offset, answer, weight: (n,).
    """

    def __init__(
        self,
        states: np.ndarray,
        items: np.ndarray,
        offset: np.ndarray,
        answer: np.ndarray,
        weight: np.ndarray,
    ):
        self.axes = _axes(states), _axes(items)
        self.sides = tuple(
            (x @ axes.astype(np.float32)).astype(np.float32)
            for x, axes in zip((states, items), self.axes, strict=True)
        )
        self.cosine = (states * items).sum(axis=1).astype(np.float64)
        self.offset, self.answer, self.weight = offset, answer, weight
        self.rank = self.sides[0].shape[1]

    def start(self, near: float) -> np.ndarray:
        """(2 + 2 R + R * R,) weights that change nothing."""
        weights = np.zeros(2 + 2 * self.rank + self.rank**2)
        weights[1] = near
        return weights

    def _split(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of states (R,), of items (R,), W (R, R)."""
        of_states, of_items, form = np.split(weights[2:], [self.rank, 2 * self.rank])
        return of_states, of_items, form.reshape(self.rank, self.rank)

    def parts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same along the entries of the vectors."""
        (of_states, of_items, form), (a, b) = self._split(weights), self.axes
        return a @ of_states, b @ of_items, a @ form @ b.T

    def logit(self, weights: np.ndarray) -> np.ndarray:
        """(n,)"""
        of_states, of_items, form = (x.astype(np.float32) for x in self._split(weights))
        states, items = self.sides
        total = self.offset + weights[0] + weights[1] * self.cosine + states @ of_states
        if form.any():
            total = total + ((states @ form) * items).sum(axis=1)
        if of_items.any():
            total = total + items @ of_items
        return np.asarray(total)

    def losses(self, weights: np.ndarray) -> np.ndarray:
        """(n,) minus log-likelihood."""
        logit = self.logit(weights)
        return np.asarray(np.logaddexp(0, np.where(self.answer > 0, -logit, logit)))

    def fitted(
        self,
        with_items: bool,
        spread: float,
        weight: np.ndarray,
        start: np.ndarray,
        near: float,
    ) -> np.ndarray:
        """Weights by the parts that are wanted; the others stay 0."""
        (states, items), rank = self.sides, self.rank
        sd = np.concatenate(
            [
                [np.inf, NEAR_SD],
                np.full(rank, SIDE_SD),
                np.full(rank, SIDE_SD if with_items else 0.0),
                np.full(rank**2, spread),
            ]
        )
        moves = sd > 0
        precision = np.where(moves, 1.0, 0.0) / np.where(moves, sd, 1.0) ** 2
        centre = self.start(near)

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            logit, away = self.logit(weights), weights - centre
            left = weight * (expit(logit) - self.answer)
            total = weight @ np.logaddexp(0, np.where(self.answer > 0, -logit, logit))
            single, gradient = left.astype(np.float32), np.zeros_like(weights)
            gradient[0], gradient[1] = left.sum(), left @ self.cosine
            gradient[2 : 2 + rank] = single @ states
            if with_items:
                gradient[2 + rank : 2 + 2 * rank] = single @ items
            if spread:
                gradient[2 + 2 * rank :] = ((states * single[:, None]).T @ items).ravel()
            return float(total + precision @ away**2 / 2), gradient + precision * away

        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        return np.asarray(found.x)
