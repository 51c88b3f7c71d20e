"""The items that are clicked most often when they are shown, the same for everybody: the bar that
personalisation has to clear.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
from scipy.special import expit

from policies.answers.levels import Content, Levels
from policies.answers.model import LEAST_ANSWERS, below
from policies.answers.rows import Rows, rows_of
from policies.base import OBJECTIVES, Requests, Slates
from policies.catalogue import Catalogue
from policies.common.errors import InputError, suggestion
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import first_allowed

NO_RATES = (
    "the log shows no skips, or hardly any answer: items are ranked by how often they were chosen,"
    " until pages of this policy have been answered."
)


@dataclass
class Level:
    """Items by the level of an answer, by empirical Bayes (`policies.answers.levels`): what users
    and slots explain is taken out, and an item with few rows is like its category, its
    length and how often it was chosen before the log.

    Levels hold weariness as it comes: a category of which everybody tires is shown less. Of a log
    that shows no skips items are ranked by how often they were chosen, until rows come.
    """

    objective: str = "click"  # the answer that is wanted: click, long_view, like
    content: bool = True  # items without rows start from their category and the like
    deterministic: ClassVar[bool] = True  # of what `fit` learns
    wave: ClassVar[int] = 16_384
    history_length: int = 0
    history_of: Literal["impressions", "clicks"] = "impressions"
    _levels: Levels | None = field(default=None, repr=False)
    _chosen: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    _ranked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32), repr=False)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(
                f"objective '{self.objective}'{suggestion(self.objective, OBJECTIVES)}"
            )

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self._levels, self._chosen = None, np.zeros(catalogue.size + 1)
        self.update(log, catalogue, rng)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        chosen = log.item[~log.shown]
        self._chosen = self._chosen + np.bincount(chosen, minlength=len(self._chosen))
        rows = _marginal(rows_of(log.by_user(), catalogue))
        self._learn(rows, rows.answers[OBJECTIVES[self.objective]], catalogue)
        self._rank(rng)

    @property
    def says_(self) -> str:
        """What a person should know of the last training."""
        return NO_RATES if self._levels is None else ""

    def _learn(self, rows: Rows, answer: np.ndarray, catalogue: Catalogue) -> None:
        if self._levels is not None:
            self._levels.update(rows, answer, np.zeros(len(rows)))
        elif min(answer.sum(), len(answer) - answer.sum()) >= LEAST_ANSWERS:
            content = Content.of(catalogue, self._chosen)
            self._levels = Levels(content if self.content else content.nothing())
            self._levels.fit(rows, answer)

    @property
    def _values(self) -> np.ndarray:
        """(N + 1,) by which items are ranked."""
        return self._chosen if self._levels is None else self._levels.items

    def _rank(self, rng: np.random.Generator) -> None:
        self._ranked = best_first(self._values)

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        ranked = self._ranked[requests.available[self._ranked]]
        slates = first_allowed(ranked, requests, slate_size)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def foretell(self, log: Impressions, catalogue: Catalogue) -> dict[str, np.ndarray]:
        """Kind of answer -> (n,) probabilities for the n shown rows of a log by user."""
        if self._levels is None:
            return {}
        return {
            OBJECTIVES[self.objective]: expit(
                self._levels.logit(_marginal(rows_of(log, catalogue)))
            )
        }

    def state(self) -> dict[str, np.ndarray]:
        arrays = {"chosen": self._chosen, "ranked": self._ranked}
        if self._levels is None:
            return arrays
        levels = {**self._levels.state(), **self._levels.content.state()}
        return arrays | {f"levels.{name}": value for name, value in levels.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._chosen, self._ranked = np.array(state["chosen"]), np.array(state["ranked"])
        levels = below(state, "levels.")
        self._levels = Levels.from_state(Content.from_state(levels), levels) if levels else None


def _marginal(rows: Rows) -> Rows:
    """Rows of which nobody asks what was shown before them."""
    return replace(rows, seen=np.zeros_like(rows.seen))


def best_first(values: np.ndarray) -> np.ndarray:
    """(N,) int32 items by their values (N + 1,), the lower id among equals."""
    ranked = np.argsort(-values, kind="stable").astype(np.int32)
    return ranked[ranked > 0]
