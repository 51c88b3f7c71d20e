"""Two stages as many teams run them: neighbours and popular items are recalled, and boosted trees
order them by the chance of a click.

The trees are LightGBM's (Ke et al., NeurIPS 2017), on one thread, kept as the text that it writes.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from policies.answers.exposures import WINDOW, lately
from policies.answers.factors import Factors
from policies.answers.levels import Content, Levels
from policies.answers.model import LEAST_ANSWERS, below
from policies.answers.rows import Rows, rows_of
from policies.base import Requests, Slates, bounded
from policies.baselines.itemknn import ItemKNN
from policies.baselines.popularity import Popularity
from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.draws import Draws
from policies.log import Impressions
from policies.neural.sequences import remember
from policies.ranking import mask_scores, top_k

NO_RATES = (
    "the log shows no skips, or hardly any answer: candidates come in the order of item-kNN, until"
    " pages of this policy have been answered twice."
)
MOST_ROWS = 400_000  # that trees are grown from: of more, the latest
FEATURES = (
    "item level",
    "sd of it",
    "level by content",
    "user level",
    "taste",
    "neighbours",
    "clicks",
    "category",
    "length",
    "category shown (1 h)",
    "category shown (6 h)",
    "item shown (6 h)",
)


@dataclass
class Ranker:
    """Candidates from item-kNN and popularity, ordered by trees on what is known of user and item.

    Rows that the trees learn from are described by levels, tastes and neighbours that did not know
    them: the earlier half of a log describes the later one, and each round the next. Of a log that
    shows no skips candidates come in the order of item-kNN, until rows come.
    """

    near: int = bounded(200, ge=1, le=100_000)  # candidates from item-kNN
    popular: int = bounded(100, ge=0, le=100_000)  # and from popularity
    trees: int = bounded(100, ge=1, le=10_000)
    leaves: int = bounded(31, ge=2, le=10_000)
    rate: float = bounded(0.1, gt=0, le=1)
    least: int = bounded(50, ge=1, le=1_000_000)  # rows of a leaf
    history_length: int = WINDOW
    history_of: Literal["impressions", "clicks"] = "impressions"
    _knn: ItemKNN = field(default_factory=ItemKNN, repr=False)
    _popular: Popularity = field(default_factory=Popularity, repr=False)
    _memory: np.ndarray = field(default_factory=lambda: np.zeros((0, 30), np.int32), repr=False)
    _levels: Levels | None = field(default=None, repr=False)
    _taste: Factors | None = field(default=None, repr=False)
    _length: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    _chosen: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    _described: np.ndarray = field(
        default_factory=lambda: np.zeros((0, len(FEATURES)), np.float32), repr=False
    )
    _answers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    _model: bytes = field(default=b"", repr=False)
    _booster: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _lightgbm()

    # -- learning ----------------------------------------------------------------------------------

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self._levels, self._chosen = None, np.zeros(catalogue.size + 1)
        self._length = np.nan_to_num(catalogue.duration.astype(np.float64))
        when = np.sort(log.time[log.shown]) if log.shown.any() else np.zeros(1)
        half = when[len(when) // 2]
        early = log.rows(log.time < half)
        self._knn.fit(early, catalogue, rng)
        self._popular.fit(early, catalogue, rng)
        self._taste = Factors.begin(catalogue.size, rng)
        self._take_in(early, catalogue)
        self.update(log.rows(log.time >= half), catalogue, rng)

    @property
    def says_(self) -> str:
        """What a person should know of the last training."""
        return NO_RATES if self._booster is None else ""

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        if not len(log):
            return
        if self._levels is not None and log.shown.any():
            by_user = log.by_user()
            rows = rows_of(by_user, catalogue, self.history_length, MOST_ROWS)
            described = self._describe_rows(rows, by_user)
            self._described = np.concatenate([self._described, described])[-MOST_ROWS:]
            answers = rows.answers["clicked"].astype(np.float32)
            self._answers = np.concatenate([self._answers, answers])[-MOST_ROWS:]
        self._knn.update(log, catalogue, rng)
        self._popular.update(log, catalogue, rng)
        self._take_in(log, catalogue)
        self._grow(int(rng.integers(2**31)))

    def _take_in(self, log: Impressions, catalogue: Catalogue) -> None:
        """Levels, tastes and the last clicks of users, with these rows."""
        self._memory = remember(self._memory, log)
        chosen = log.item[~log.shown]
        self._chosen = self._chosen + np.bincount(chosen, minlength=len(self._chosen))
        rows = rows_of(log.by_user(), catalogue, self.history_length)
        answer = rows.answers["clicked"]
        if self._levels is not None:
            self._levels.update(rows, answer, self._tastes(rows.user, rows.item))
        elif min(answer.sum(), len(answer) - answer.sum()) >= LEAST_ANSWERS:
            self._levels = Levels(Content.of(catalogue, self._chosen))
            self._levels.fit(rows, answer)
        if self._levels is not None and self._taste is not None:
            self._taste.update(rows, answer, self._levels.logit(rows))

    def _tastes(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Logits of taste of users (B,) for items (B,) or (B, M)."""
        assert self._taste is not None
        wanted, offered = self._taste.of_users(users), self._taste.items[items]
        out: np.ndarray = np.einsum(
            "bk,bk->b" if items.ndim == 1 else "bk,bmk->bm", wanted, offered
        )
        return out

    def _describe_rows(self, rows: Rows, log: Impressions) -> np.ndarray:
        """(n, F) of rows that the levels do not know; clicks are those before the log."""
        people, who = np.unique(rows.user, return_inverse=True)
        known = people < len(self._memory)
        clicks = np.zeros((len(people), self._memory.shape[1]), np.int32)
        clicks[known] = self._memory[people[known]]
        near = np.asarray(self._knn.near(clicks)[who, rows.item]).reshape(-1, 1)
        return self._describe(rows.user, rows.item[:, None], near, rows.seen[:, None, :])[:, 0]

    def foretell(self, log: Impressions, catalogue: Catalogue) -> dict[str, np.ndarray]:
        """Kind of answer -> (n,) probabilities for the n shown rows of a log by user."""
        if self._booster is None:
            return {}
        described = self._describe_rows(rows_of(log, catalogue, self.history_length), log)
        return {"clicked": self._booster.predict(described, num_threads=1)}

    def _describe(
        self, users: np.ndarray, items: np.ndarray, near: np.ndarray, seen: np.ndarray
    ) -> np.ndarray:
        """(B, M, F) float32.

        Args:
            users: (B,). items, near: (B, M). seen: (B, M, 3) exposures.
        """
        levels = self._levels
        assert levels is not None
        columns = [
            levels.items[items],
            levels.item_sd[items],
            levels.of_content[items],
            np.broadcast_to(levels.users(users)[:, None], items.shape),
            self._tastes(users, items),
            near,
            np.log1p(self._popular.counts)[items],
            levels.content.category[items],
            self._length[items],
        ]
        return np.concatenate([np.stack(columns, axis=-1), seen], axis=-1).astype(np.float32)

    def _grow(self, seed: int) -> None:
        """Trees on all rows that were described."""
        lightgbm = _lightgbm()
        answers = self._answers
        if min(answers.sum(), len(answers) - answers.sum()) < LEAST_ANSWERS:
            return
        data = lightgbm.Dataset(
            self._described,
            answers,
            feature_name=[name.replace(" ", "_") for name in FEATURES],
            categorical_feature=[FEATURES.index("category")],
            params={"verbose": -1},
        )
        settings = {
            "objective": "binary",
            "num_leaves": self.leaves,
            "learning_rate": self.rate,
            "min_data_in_leaf": self.least,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "seed": seed,
            "verbose": -1,
        }
        self._booster = lightgbm.train(settings, data, num_boost_round=self.trees)
        self._model = self._booster.model_to_string().encode()

    # -- serving -----------------------------------------------------------------------------------

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        clicks = _clicks_of(requests, self._memory.shape[1])
        asked = replace(
            requests,
            items=clicks,
            feedback=(clicks > 0).astype(np.float32),
            said=np.zeros(clicks.shape, np.int8),
            ages=np.zeros(clicks.shape, np.float32),
            turns=np.full(clicks.shape, -1, np.int16),
        )
        if self._booster is None:
            return self._knn.recommend(asked, slate_size, draws)
        free = int(requests.available.sum()) - requests.exclude.shape[1]
        near, popular = (max(min(n, free), slate_size) for n in (self.near, self.popular))
        parts = [self._knn.recommend(asked, near, draws).items]
        if self.popular:
            parts.append(self._popular.recommend(requests, popular, draws).items)
        items = np.concatenate(parts, axis=1)
        scores = self._scores(requests, clicks, items)
        every = np.full((len(requests), len(requests.available)), -np.inf, np.float32)
        np.put_along_axis(every, items, scores, axis=1)
        slates = top_k(mask_scores(every, requests), slate_size)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def _scores(self, requests: Requests, clicks: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(B, M) float32 logits of candidates (B, M)."""
        from policies.answers.loops import counts_of  # numba takes most of a second

        assert self._levels is not None
        content = self._levels.content
        of_late = lately(requests, content.category, content.n_categories)
        category = content.category[items]
        seen = [np.take_along_axis(part, category, 1) for part in of_late.categories.swapaxes(0, 1)]
        seen.append(counts_of(items, of_late.items, of_late.counts, len(content.items)))
        user = np.repeat(np.arange(len(items)), items.shape[1])
        near = np.asarray(self._knn.near(clicks)[user, items.ravel()]).reshape(items.shape)
        described = self._describe(
            requests.users.astype(np.int64), items, near, np.stack(seen, axis=-1)
        )
        flat = described.reshape(-1, len(FEATURES))
        scores: np.ndarray = self._booster.predict(flat, raw_score=True, num_threads=1)
        return scores.reshape(items.shape).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        arrays = {f"knn.{name}": value for name, value in self._knn.state().items()}
        arrays |= {f"popular.{name}": value for name, value in self._popular.state().items()}
        arrays |= {
            "memory": self._memory,
            "length": self._length,
            "chosen": self._chosen,
            "described": self._described,
            "answers": self._answers,
            "model": np.frombuffer(self._model, np.uint8).copy(),
        }
        if self._levels is not None and self._taste is not None:
            levels = {**self._levels.state(), **self._levels.content.state()}
            arrays |= {f"levels.{name}": value for name, value in levels.items()}
            arrays |= {f"taste.{name}": value for name, value in self._taste.state().items()}
        return arrays

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._knn.restore(below(state, "knn."))
        self._popular.restore(below(state, "popular."))
        for name in ("memory", "length", "chosen", "described", "answers"):
            setattr(self, f"_{name}", np.array(state[name]))
        levels, self._levels, self._booster = below(state, "levels."), None, None
        if levels:
            self._levels = Levels.from_state(Content.from_state(levels), levels)
            self._taste = Factors.from_state(below(state, "taste."))
        self._model = state["model"].tobytes()
        if self._model:
            self._booster = _lightgbm().Booster(model_str=self._model.decode())


def _clicks_of(requests: Requests, n: int) -> np.ndarray:
    """(B, n) int32 the last clicks of histories of impressions, oldest first, left-padded."""
    clicked = (requests.feedback > 0) & (requests.items > 0)
    order = np.argsort(clicked, axis=1, kind="stable")
    kept = np.where(clicked, requests.items, 0)
    clicks: np.ndarray = np.take_along_axis(kept, order, axis=1)[:, -n:]
    return np.pad(clicks, ((0, 0), (n - clicks.shape[1], 0))).astype(np.int32)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except (ImportError, OSError):  # the library of OpenMP may be missing too
        raise InputError(
            "policy 'ranker' needs LightGBM: pip install '.[ranker]', or leave it out"
        ) from None
    return lightgbm
