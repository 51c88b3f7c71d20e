"""The probability of an answer to an item that is shown: what reward models are to chat.

    logit = levels (item, category, user, slot, exposures) + taste told by answers + reading of the
            state of a sequence model

Each part is taught by rows that those before it have not seen: the levels of the early part of a
log stand beside the states of the late part, and every round is foretold before it is learned from.
A log tells of what its policy selected; of items that it did not show the priors speak.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from policies.answers.factors import Factors
from policies.answers.levels import Content, Levels
from policies.answers.measures import shift_of
from policies.answers.reading import Reading
from policies.answers.rows import Rows
from policies.base import KINDS

LEAST_ANSWERS = 30  # of a kind, either way: fewer teach nothing
STEEPEST = 2.0  # slope of a calibration, or its inverse


@dataclass
class AnswerModel:
    """See the module.

    Attributes:
        levels, readings: kind of answer -> part. taste: of clicks.
        calibration: kind -> (shift, slope) of its logit.
        foretold: kind -> AUC of the last rows, as they were foretold before they were learned from,
            of users whom the reading of states did not know either.
    """

    content: Content
    taste: Factors
    levels: dict[str, Levels] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    calibration: dict[str, tuple[float, float]] = field(default_factory=dict)
    foretold: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def fit(
        early: Rows,
        late: Rows,
        states: np.ndarray,
        vectors: np.ndarray,
        content: Content,
        rng: np.random.Generator,
    ) -> "AnswerModel":
        """From a log in two parts.

        Args:
            states: (P, D) unit vectors of pages, by a model that knows the early part alone; those
                of the late part are read.
            vectors: (N + 1, D) unit vectors of items.
        """
        model = AnswerModel(content, Factors.begin(len(content.items) - 1, rng))
        for kind in KINDS:
            told = early.answers[kind]
            if min(told.sum(), len(told) - told.sum()) >= LEAST_ANSWERS:
                model.levels[kind] = Levels(content)
                model.levels[kind].fit(early, told)
                model.readings[kind] = Reading.nothing(states.shape[1])
                model.calibration[kind] = (0.0, 1.0)
        if "clicked" in model.levels:
            clicks = early.answers["clicked"]
            model.taste.update(early, clicks, model.levels["clicked"].logit(early))
        model.update(late, states, vectors, rng)
        return model

    def update(
        self, rows: Rows, states: np.ndarray, vectors: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Foretells these rows, learns to read states from how that went, then takes them in.

        Args:
            states: (P, D) of the rows' pages, by a model that has not seen them.
        """
        if not len(rows):
            return
        for kind, levels in self.levels.items():
            answer, reading = rows.answers[kind], self.readings[kind]
            taste = self.taste.logit(rows) if kind == "clicked" else np.zeros(len(rows))
            before, slope = levels.logit(rows) + taste, self.calibration[kind][1]
            enough = min(answer.sum(), len(answer) - answer.sum()) >= LEAST_ANSWERS
            if enough:
                self.foretold[kind] = reading.update(rows, states, vectors, before, answer, rng)
            read = reading.of_rows(rows.page, rows.item, states, vectors)
            if enough:
                slope = _slope(before + read, answer, rows.weight)
            levels.update(rows, answer, read + taste)
            total = levels.logit(rows) + read
            if kind == "clicked":
                self.taste.update(rows, answer, total)
                total = total + self.taste.logit(rows)
            self.calibration[kind] = (shift_of(slope * total, answer, rows.weight), slope)

    def raw(self, kind: str, rows: Rows, states: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """(n,) logits before calibration."""
        total = self.levels[kind].logit(rows)
        total = total + self.readings[kind].of_rows(rows.page, rows.item, states, vectors)
        return total + self.taste.logit(rows) if kind == "clicked" else total

    def probability(
        self, kind: str, rows: Rows, states: np.ndarray, vectors: np.ndarray
    ) -> np.ndarray:
        """(n,) calibrated."""
        shift, slope = self.calibration[kind]
        chance: np.ndarray = expit(shift + slope * self.raw(kind, rows, states, vectors))
        return chance

    def state(self) -> dict[str, np.ndarray]:
        arrays = self.content.state()
        arrays |= {f"taste.{name}": value for name, value in self.taste.state().items()}
        for kind in self.levels:
            arrays |= {f"{kind}.{n}": value for n, value in self.levels[kind].state().items()}
            arrays |= {f"{kind}.{n}": value for n, value in self.readings[kind].state().items()}
            arrays[f"{kind}.calibration"] = np.array(self.calibration[kind])
            arrays[f"{kind}.foretold"] = np.array([self.foretold.get(kind, np.nan)])
        return arrays

    @staticmethod
    def from_state(state: dict[str, np.ndarray]) -> "AnswerModel":
        content = Content.from_state(state)
        model = AnswerModel(content, Factors.from_state(below(state, "taste.")))
        for kind in KINDS:
            part = below(state, f"{kind}.")
            if part:
                model.levels[kind] = Levels.from_state(content, part)
                model.readings[kind] = Reading.from_state(part)
                shift, slope = part["calibration"].tolist()
                model.calibration[kind] = (shift, slope)
                model.foretold[kind] = float(part["foretold"][0])
        return model


def below(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with this, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _slope(logit: np.ndarray, answer: np.ndarray, weight: np.ndarray) -> float:
    """Of the logit that foretells these answers best (Platt, 1999)."""
    x = np.stack([np.ones(len(logit)), logit], axis=1)
    found = np.array([0.0, 1.0])
    for _ in range(30):
        chance = expit(x @ found)
        w = weight * np.maximum(chance * (1 - chance), 1e-6)
        step = np.linalg.solve((x * w[:, None]).T @ x, x.T @ (weight * (answer - chance)))
        found = found + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    return float(np.clip(found[1], 1 / STEEPEST, STEEPEST))
