"""How far an answer depends on the item, its category, the user, the slot and what was shown of
late: a logistic regression with crossed random effects, learned round by round.

    logit = intercept + slopes' x + item + category + user + slot

Effects are normal around 0 with variances that the first rows tell (EM on Laplace's approximation;
Breslow and Clayton, JASA 1993). x holds what is known of an item without any row of it (how often
it was chosen where nothing says that it was shown, its length) and the exposures of late, so that
an item without rows is its category and its content. What was learned is the prior of the rows that
come next: means, and precisions (West, Harrison and Migon, JASA 1985). Each step is that of the
quadratic bound of Jaakkola and Jordan (2000), which never overshoots.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from policies.answers.exposures import EXPOSURES
from policies.answers.rows import Rows
from policies.catalogue import Catalogue

BLOCKS = ("user", "item", "category", "slot")
SLOTS = 128
FIRST_SD = {"user": 0.7, "item": 0.7, "category": 0.3, "slot": 0.1}
LEAST_SD = 0.02
SLOPE_SD = 1.0  # of a slope before any row
SUREST = 0.02  # standard deviation of a slope or a slot: other rows may be other pages
ANEW_SD = 3.0  # of the intercept, which every log has for itself: its season, its selection
SWEEPS, CLOSE = 15, 1e-3


@dataclass(frozen=True)
class Content:
    """What is known of items without any row that was shown.

    Attributes:
        items: (N + 1, G) float64, row 0 is no item. category: (N + 1,) int64.
        n_categories: C.
    """

    items: np.ndarray
    category: np.ndarray
    n_categories: int

    @staticmethod
    def of(catalogue: Catalogue, chosen: np.ndarray) -> "Content":
        """
        Args:
            chosen: (N + 1,) how often each item was chosen where nothing was shown.
        """
        length = np.log(np.maximum(catalogue.duration.astype(np.float64), 1e-3))
        known = np.isfinite(length)
        spread = float(length[known].std()) if known.any() else 0.0
        at = (length - length[known].mean()) / spread if spread > 0 else np.zeros(len(length))
        at = np.where(known, np.clip(at, -3, 3), 0.0)
        columns = np.stack([np.log1p(chosen), at, at**2], axis=1)
        columns[0] = 0.0
        category = catalogue.category.astype(np.int64)
        return Content(columns, category, len(catalogue.categories))

    def nothing(self) -> "Content":
        """Items of which nothing is known but their rows."""
        return Content(np.zeros((len(self.items), 0)), np.zeros_like(self.category), 1)

    def state(self) -> dict[str, np.ndarray]:
        return {
            "content": self.items,
            "category": self.category,
            "categories": np.array([self.n_categories]),
        }

    @staticmethod
    def from_state(state: dict[str, np.ndarray]) -> "Content":
        return Content(
            np.array(state["content"]), np.array(state["category"]), int(state["categories"][0])
        )


@dataclass
class Levels:
    """See the module.

    Attributes:
        mean, precision: of each block of effects; users that come later are added.
        sd: standard deviation of each block's effects.
        slopes: (1 + G + EXPOSURES,) intercept, content, exposures. information: their precision.
    """

    content: Content
    mean: dict[str, np.ndarray] = field(default_factory=dict)
    precision: dict[str, np.ndarray] = field(default_factory=dict)
    sd: dict[str, float] = field(default_factory=lambda: dict(FIRST_SD))
    slopes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    information: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def fit(self, rows: Rows, answer: np.ndarray) -> None:
        """From the first rows.

        Args:
            answer: (n,) 0 or 1.
        """
        sizes = (
            int(rows.user.max(initial=0)) + 1,
            len(self.content.items),
            self.content.n_categories,
            SLOTS,
        )
        self.mean = {name: np.zeros(size) for name, size in zip(BLOCKS, sizes, strict=True)}
        self.sd = dict(FIRST_SD)
        width = 1 + self.content.items.shape[1] + EXPOSURES
        self.slopes = np.zeros(width)
        self.information = np.diag([ANEW_SD**-2] + [SLOPE_SD**-2] * (width - 1))
        self._learn(rows, answer, np.zeros(len(rows)), first=True)

    def update(self, rows: Rows, answer: np.ndarray, offset: np.ndarray) -> None:
        """Goes on with rows that came since; their intercept is their own.

        Args:
            offset: (n,) logits of what else is known.
        """
        if not len(rows):
            return
        more = int(rows.user.max()) + 1 - len(self.mean["user"])
        if more > 0:
            self.mean["user"] = np.append(self.mean["user"], np.zeros(more))
            fresh = np.full(more, self.sd["user"] ** -2)
            self.precision["user"] = np.append(self.precision["user"], fresh)
        self.precision["slot"] = np.minimum(self.precision["slot"], SUREST**-2)
        scale = np.sqrt(np.minimum(1.0, SUREST**-2 / np.diag(self.information)))
        self.information = self.information * scale[:, None] * scale
        self.information[0, :] = self.information[:, 0] = 0.0
        self.information[0, 0] = ANEW_SD**-2
        self._learn(rows, answer, offset, first=False)

    def _learn(self, rows: Rows, answer: np.ndarray, offset: np.ndarray, first: bool) -> None:
        x, at = self._x(rows), self._blocks(rows)
        prior = {name: np.zeros_like(mean) if first else mean for name, mean in self.mean.items()}
        mean, slopes = {name: m.copy() for name, m in self.mean.items()}, self.slopes.copy()
        sure = self._prior_precision() if first else self.precision
        logit = offset + x @ slopes
        for name in BLOCKS:
            logit += mean[name][at[name]]
        for sweep in range(SWEEPS):
            moved = 0.0
            self._exchange(mean, prior, sure)
            left, w = self._step(logit, answer, rows.weight)
            h = (x * w[:, None]).T @ x + self.information
            step = np.linalg.solve(h, x.T @ left - self.information @ (slopes - self.slopes))
            slopes = slopes + step
            logit += x @ step
            moved = max(moved, float(np.abs(step).max()))
            for name in BLOCKS:
                left, w = self._step(logit, answer, rows.weight)
                n = len(mean[name])
                h = np.bincount(at[name], w, minlength=n) + sure[name]
                g = np.bincount(at[name], left, minlength=n) - sure[name] * (
                    mean[name] - prior[name]
                )
                mean[name] = mean[name] + g / h
                logit += (g / h)[at[name]]
                moved = max(moved, float(np.abs(g / h).max()))
                if first and sweep > 1:
                    there = np.bincount(at[name], minlength=n) > 0
                    spread = float(np.mean(mean[name][there] ** 2 + 1 / h[there])) ** 0.5
                    self.sd[name] = max(spread, LEAST_SD)
            if first:
                sure = self._prior_precision()
            if moved < CLOSE:
                break
        chance = expit(logit)
        certain = rows.weight * chance * (1 - chance)
        self.mean, self.slopes = mean, slopes
        self.precision = {
            name: np.bincount(at[name], certain, minlength=len(mean[name])) + sure[name]
            for name in BLOCKS
        }
        self.information = (x * certain[:, None]).T @ x + self.information

    def _exchange(
        self,
        mean: dict[str, np.ndarray],
        prior: dict[str, np.ndarray],
        sure: dict[str, np.ndarray],
    ) -> None:
        """Moves what the items of a category have in common to the category, as far as the priors
        want it: no logit changes, and steps block by block would take hundreds of sweeps for it.
        """
        c, n = self.content.category, self.content.n_categories
        items, category = mean["item"], mean["category"]
        weight = sure["item"].copy()
        weight[0] = 0.0  # no item
        pull = np.bincount(c, weight * (items - prior["item"]), minlength=n)
        against = sure["category"] * (category - prior["category"])
        common = (pull - against) / (np.bincount(c, weight, minlength=n) + sure["category"])
        mean["category"], mean["item"] = category + common, items - common[c]
        mean["item"][0] = 0.0

    def _prior_precision(self) -> dict[str, np.ndarray]:
        return {name: np.full(len(m), self.sd[name] ** -2) for name, m in self.mean.items()}

    @staticmethod
    def _step(
        logit: np.ndarray, answer: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is left of the answers, and the curvature of the bound."""
        size = np.maximum(np.abs(logit), 1e-3)
        # tanh(size / 2) / (2 size), from the one exponential that both need
        above = expit(size) - 0.5
        chance = 0.5 + np.copysign(above, logit)
        return weight * (answer - chance), weight * (above / size)

    def _x(self, rows: Rows) -> np.ndarray:
        """(n, 1 + G + EXPOSURES)."""
        return np.concatenate(
            [np.ones((len(rows), 1)), self.content.items[rows.item], rows.seen], axis=1
        )

    def _blocks(self, rows: Rows) -> dict[str, np.ndarray]:
        return {
            "user": rows.user,
            "item": rows.item,
            "category": self.content.category[rows.item],
            "slot": np.minimum(rows.slot, SLOTS - 1),
        }

    # -- what was learned --------------------------------------------------------------------------

    def logit(self, rows: Rows) -> np.ndarray:
        """(n,) of these rows; users that nobody knows are average."""
        at = self._blocks(rows)
        total = self._x(rows) @ self.slopes + self.users(rows.user)
        for name in ("item", "category", "slot"):
            total = total + self.mean[name][at[name]]
        return np.asarray(total)

    def users(self, users: np.ndarray) -> np.ndarray:
        """(B,) effects of these users, 0 of those that nobody knows."""
        known = users < len(self.mean["user"])
        return np.where(known, self.mean["user"][np.where(known, users, 0)], 0.0)

    @property
    def of_content(self) -> np.ndarray:
        """(N + 1,) logits by what is known of items without their rows."""
        g = self.content.items.shape[1]
        slopes = self.slopes[1 : 1 + g]
        return self.content.items @ slopes + self.mean["category"][self.content.category]

    @property
    def items(self) -> np.ndarray:
        """(N + 1,) logits of items, content included, intercept not."""
        return self.of_content + self.mean["item"]

    @property
    def item_sd(self) -> np.ndarray:
        """(N + 1,) standard deviation of the posterior of an item's level, as far as its own effect
        and that of its category go.
        """
        of_category = 1 / self.precision["category"][self.content.category]
        return np.asarray((1 / self.precision["item"] + of_category) ** 0.5)

    @property
    def tiring(self) -> np.ndarray:
        """(EXPOSURES,) logits for each exposure."""
        return self.slopes[1 + self.content.items.shape[1] :]

    def state(self) -> dict[str, np.ndarray]:
        """Arrays of everything but the content."""
        arrays = {f"mean.{name}": self.mean[name] for name in BLOCKS}
        arrays |= {f"precision.{name}": self.precision[name] for name in BLOCKS}
        arrays["sd"] = np.array([self.sd[name] for name in BLOCKS])
        return arrays | {"slopes": self.slopes, "information": self.information}

    @staticmethod
    def from_state(content: Content, state: dict[str, np.ndarray]) -> "Levels":
        return Levels(
            content,
            {name: np.array(state[f"mean.{name}"]) for name in BLOCKS},
            {name: np.array(state[f"precision.{name}"]) for name in BLOCKS},
            dict(zip(BLOCKS, state["sd"].tolist(), strict=True)),
            np.array(state["slopes"]),
            np.array(state["information"]),
        )
