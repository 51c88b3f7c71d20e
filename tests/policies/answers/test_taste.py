"""Taste that answers tell, what states say of answers, and the model of both."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from policies.answers.factors import Factors
from policies.answers.levels import Content
from policies.answers.model import AnswerModel
from policies.answers.reading import Reading
from policies.answers.rows import Rows
from policies.base import KINDS
from policies.catalogue import Catalogue

N_USERS, N_ITEMS, WIDTH = 200, 150, 4


def expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def made(
    n: int, seed: int, taste: float, near: float = 0.0
) -> tuple[Rows, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, the true taste of each, states of their pages (one per row) and item vectors."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(1)
    users = truth.normal(size=(N_USERS, WIDTH)) * taste / WIDTH**0.5
    items = truth.normal(size=(N_ITEMS + 1, WIDTH))
    vectors = truth.normal(size=(N_ITEMS + 1, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    states = rng.normal(size=(n, 6)).astype(np.float32)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    user, item = np.sort(rng.integers(0, N_USERS, n)), rng.integers(1, N_ITEMS + 1, n)
    true = (users[user] * items[item]).sum(axis=1)
    logit = -0.5 + true + near * (states * vectors[item]).sum(axis=1)
    answer = (rng.random(n) < expit(logit)).astype(np.float64)
    rows = Rows(
        user,
        item,
        np.zeros(n, np.int64),
        np.zeros((n, 3), np.float32),
        dict.fromkeys(KINDS, answer),
        np.arange(n) * 1.0,
        np.arange(n),
        np.ones(n),
    )
    return rows, true, states, vectors


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_planted_taste_is_found(rounds: int) -> None:
    found = Factors.begin(N_ITEMS, np.random.default_rng(0))
    for i in range(rounds):
        rows, _, _, _ = made(60_000 // rounds, 10 + i, 1.0)
        found.update(rows, rows.answers["clicked"], np.full(len(rows), -0.5))
    rows, true, _, _ = made(5000, 99, 1.0)
    told = found.logit(rows)
    assert np.corrcoef(told, true)[0, 1] > 0.75
    slope = np.polyfit(told, true, 1)[0]
    assert 0.7 < slope < 1.4  # neither shrunk nor inflated


def test_where_there_is_no_taste_none_is_found() -> None:
    found = Factors.begin(N_ITEMS, np.random.default_rng(0))
    rows, _, _, _ = made(60_000, 3, 0.0)
    found.update(rows, rows.answers["clicked"], np.full(len(rows), -0.5))
    assert found.logit(rows).std() < 0.15
    assert (found.of_users(np.array([10**6])) == 0).all()


def test_the_slope_of_the_cosine_is_that_of_an_independent_regression() -> None:
    rows, _, states, vectors = made(20_000, 4, 0.0, near=2.0)
    reading = Reading.nothing(6)
    items, offset = vectors[rows.item], np.zeros(len(rows))
    cosine = (states * items).sum(axis=1)[:, None]
    answer = rows.answers["clicked"]
    reading.update(rows, states, vectors, offset, answer, np.random.default_rng(5))
    independent = LogisticRegression(C=1e6).fit(cosine, answer).coef_[0, 0]
    told = (reading.logit(states, items) * cosine[:, 0]).sum() / (cosine**2).sum()
    assert told == pytest.approx(independent, abs=0.15)


def test_a_state_that_says_nothing_is_not_read() -> None:
    rows, _, states, vectors = made(20_000, 6, 0.0)
    reading = Reading.nothing(6)
    answer = rows.answers["clicked"]
    reading.update(rows, states, vectors, np.zeros(len(rows)), answer, np.random.default_rng(5))
    assert reading.logit(states, vectors[rows.item]).std() < 0.08


def catalogue() -> Catalogue:
    return Catalogue.of(np.arange(N_ITEMS).astype(str))


def modelled(rows: Rows, states: np.ndarray, vectors: np.ndarray) -> AnswerModel:
    content = Content.of(catalogue(), np.zeros(N_ITEMS + 1))
    late = np.random.default_rng(8).random(len(rows)) < 0.3
    rng = np.random.default_rng(9)
    return AnswerModel.fit(rows.kept(~late), rows.kept(late), states, vectors, content, rng)


def test_answers_are_foretold_as_often_as_they_come() -> None:
    rows, _, states, vectors = made(60_000, 7, 0.8, near=1.5)
    model = modelled(rows, states, vectors)
    fresh, _, states, _ = made(20_000, 77, 0.8, near=1.5)
    chance = model.probability("clicked", fresh, states, vectors)
    answer = fresh.answers["clicked"]
    assert abs(chance.mean() - answer.mean()) < 0.015
    edges = np.quantile(chance, np.linspace(0, 1, 11))
    tenth = np.clip(np.searchsorted(edges, chance, side="right") - 1, 0, 9)
    off = [abs((chance - answer)[tenth == t].mean()) for t in range(10)]
    assert max(off) < 0.05
    levels_alone = expit(model.levels["clicked"].logit(fresh))

    def loss(p: np.ndarray) -> float:
        return float(-np.log(np.where(answer > 0, p, 1 - p)).mean())

    assert loss(chance) < loss(levels_alone) - 0.02


def test_the_model_is_the_same_from_its_state() -> None:
    rows, _, states, vectors = made(20_000, 12, 0.8, near=1.0)
    model = modelled(rows, states, vectors)
    again = AnswerModel.from_state(model.state())
    more, _, states, _ = made(5000, 13, 0.8, near=1.0)
    for one in (model, again):
        one.update(more, states, vectors, np.random.default_rng(3))
    for kind in KINDS:
        np.testing.assert_array_equal(
            model.probability(kind, more, states, vectors),
            again.probability(kind, more, states, vectors),
        )


def test_states_are_believed_by_rows_that_their_model_has_not_seen() -> None:
    """States that give away the answers of the early part, which their model was trained on, and
    say nothing of the late one.
    """
    rows, _, states, vectors = made(30_000, 14, 0.0)
    late = np.random.default_rng(8).random(len(rows)) < 0.3
    sign = np.where(rows.answers["clicked"] > 0, 1, -1)[:, None]
    leaking = np.where(late[:, None], states, sign * vectors[rows.item]).astype(np.float32)
    content = Content.of(catalogue(), np.zeros(N_ITEMS + 1))
    early, rest = rows.kept(~late), rows.kept(late)
    rng = np.random.default_rng(9)
    model = AnswerModel.fit(early, rest, leaking, vectors, content, rng)
    assert abs(model.readings["clicked"].near) < 0.3
    fooled = Reading.nothing(6)
    fooled.update(rows, leaking, vectors, np.zeros(len(rows)), rows.answers["clicked"], rng)
    assert fooled.near > 1


def test_what_was_foretold_is_of_users_left_out() -> None:
    rows, _, states, vectors = made(60_000, 16, 0.0, near=2.0)
    told = modelled(rows, states, vectors).foretold["clicked"]
    fresh, _, states, vectors = made(20_000, 17, 0.0, near=2.0)
    cosine = (states * vectors[fresh.item]).sum(axis=1)
    assert told == pytest.approx(roc_auc_score(fresh.answers["clicked"], cosine), abs=0.03)
