"""level, thompson and ranker, and what any arm may be told: to explore, and to cease learning."""

import numpy as np
import pytest

from policies.base import Policy, Requests, Slates, plain_requests
from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.draws import Draws, generator
from policies.log import Impressions
from policies.registry import make
from policies.testing import check_policy, small_log

N = 40


def shown(n: int = 8000, seed: int = 1) -> tuple[Impressions, Catalogue]:
    """Item i is clicked with probability i / 50 when shown; low items are shown nine times as
    often.
    """
    rng = np.random.default_rng(seed)
    low = rng.random(n) < 0.9
    item = np.where(low, rng.integers(1, N // 2 + 1, n), rng.integers(N // 2 + 1, N + 1, n))
    log = Impressions.of(
        user=rng.integers(0, 100, n),
        item=item,
        time=np.sort(rng.random(n)) * 1e9,
        clicked=rng.random(n) < item / 50,
    )
    return log, Catalogue.of(np.arange(N).astype(str))


def fitted(name: str, log: Impressions, catalogue: Catalogue, **settings: object) -> Policy:
    policy = make(name, settings)
    policy.fit(log, catalogue, generator("fit"))
    return policy


def page(policy: Policy, users: int = 5, k: int = 6) -> Slates:
    requests = plain_requests(np.zeros((users, max(policy.history_length, 1)), np.int32), N)
    return policy.recommend(requests, k, Draws(1, requests.users, requests.sessions))


def test_level_ranks_by_rate_where_popularity_ranks_by_count() -> None:
    log, catalogue = shown()
    best = set(page(fitted("level", log, catalogue)).items[0])
    assert len(best & set(range(33, 41))) >= 5
    assert max(page(fitted("popularity", log, catalogue)).items[0]) <= N // 2


def test_level_takes_choices_for_no_showings() -> None:
    log, catalogue = shown()
    chosen = Impressions.of(
        user=np.arange(500) % 100,
        item=np.repeat(1, 500),
        time=np.full(500, -1.0),
        shown=np.zeros(500, bool),
        clicked=np.ones(500, bool),
    )
    both = Impressions.concat([chosen, log])
    assert 1 not in page(fitted("level", both, catalogue)).items
    # Of choices alone it knows no rates: the most chosen come first, until rows are shown.
    policy = fitted("level", chosen, catalogue)
    assert page(policy).items[0, 0] == 1
    policy.update(log, catalogue, generator("update"))
    assert 1 not in page(policy).items


def test_level_of_long_views() -> None:
    log, catalogue = shown()
    watched = Impressions.of(
        user=log.user,
        item=log.item,
        time=log.time,
        clicked=log.clicked,
        long_view=log.clicked & (log.item < 30),
    )
    assert page(fitted("level", watched, catalogue, objective="long_view")).items.max() < 30
    with pytest.raises(InputError, match="did you mean 'long_view'"):
        make("level", {"objective": "long_veiw"})


def test_thompson_tries_what_it_does_not_know() -> None:
    log, catalogue = shown()
    few = log.rows(log.item != 1)  # item 1 has no rows at all
    policy = fitted("thompson", few, catalogue)
    asked = plain_requests(np.zeros((400, 1), np.int32), N)
    slates = policy.recommend(asked, 6, Draws(2, asked.users, asked.sessions))
    assert (slates.items == 1).any()
    assert len({tuple(row) for row in slates.items}) <= 16
    assert slates.propensity is not None
    assert set(np.unique(slates.propensity * 16)) <= set(range(1, 17))


def no_lightgbm() -> bool:
    try:
        make("ranker")
    except InputError:
        return True
    return False


NEEDS_TREES = pytest.mark.skipif(no_lightgbm(), reason="LightGBM cannot be imported here")


@NEEDS_TREES
def test_ranker_finds_what_a_user_clicks_when_shown() -> None:
    log, catalogue = small_log(rows=12_000)
    policy = fitted("ranker", log, catalogue, least=20)
    requests = plain_requests(np.zeros((60, 148), np.int32), N)
    slates = policy.recommend(requests, 6, Draws(1, requests.users, requests.sessions))
    assert (slates.items % 2 == np.arange(60)[:, None] % 2).mean() > 0.9


@NEEDS_TREES
def test_ranker_without_skips_is_item_knn_until_rows_come() -> None:
    log, catalogue = small_log()
    choices = log.rows(log.clicked)
    choices = Impressions.of(
        user=choices.user,
        item=choices.item,
        time=choices.time,
        clicked=choices.clicked,
        shown=np.zeros(len(choices), bool),
    )
    policy, knn = fitted("ranker", choices, catalogue), fitted("itemknn", choices, catalogue)
    np.testing.assert_array_equal(page(policy).items, page(knn).items)
    for seed in (1, 2):
        rows, _ = small_log()
        policy.update(rows, catalogue, generator("update", seed))
    assert policy._booster is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("level", {}),
        ("thompson", {}),
        pytest.param("ranker", {}, marks=NEEDS_TREES),
        ("level", {"epsilon": 0.2}),
        ("thompson", {"epsilon": 0.3}),
        ("uniform", {"epsilon": 0.5}),
        ("itemknn", {"epsilon": 0.1, "updates": 0}),
        ("gru4rec", {"epsilon": 0.2, "epochs": 1}),
        ("oracle", {"epsilon": 0.2}),
    ],
)
def test_contract(name: str, settings: dict[str, object]) -> None:
    check_policy(lambda: make(name, settings))


class Drawing:
    """Shows one of two pages by chance, and says how likely its own page was."""

    history_length, history_of = 0, "impressions"
    fit = update = restore = lambda *_: None

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        first = draws.uniform("which", 1)[:, 0] < 0.5
        items = np.where(first[:, None], np.arange(1, 7), np.arange(6, 0, -1)).astype(np.int32)
        return Slates(items, np.full(items.shape, 0.5, np.float32))


def test_an_unknown_propensity_is_not_stated() -> None:
    asked = plain_requests(np.zeros((50, 1), np.int32), N)
    draws = Draws(1, asked.users, asked.sessions)
    name = f"{__name__}:Drawing"
    assert make(name).recommend(asked, 6, draws).propensity is not None
    assert make(name, {"epsilon": 0.1}).recommend(asked, 6, draws).propensity is None


def test_epsilon_is_the_share_of_random_pages() -> None:
    log, catalogue = shown()
    plain, exploring = (fitted("level", log, catalogue, epsilon=e) for e in (0.0, 0.25))
    asked = plain_requests(np.zeros((4000, 1), np.int32), N)
    draws = Draws(3, asked.users, asked.sessions)
    best = plain.recommend(asked, 6, draws).items[0]
    slates = exploring.recommend(asked, 6, draws)
    other = (slates.items != best).any(axis=1)
    assert other.mean() == pytest.approx(0.25, abs=0.03)
    assert slates.propensity is not None
    np.testing.assert_allclose(slates.propensity[~other], 0.75 + 0.25 / N, rtol=1e-6)
    np.testing.assert_allclose(
        slates.propensity[other & (slates.items != best).all(axis=1)], 0.25 / N, rtol=1e-6
    )


def test_an_arm_that_ceases_to_learn() -> None:
    log, catalogue = shown()
    frozen, once, always = (fitted("level", log, catalogue, updates=n) for n in (0, 1, -1))
    other = Impressions.of(
        user=log.user, item=N + 1 - log.item, time=log.time + 1e9, clicked=log.clicked
    )
    before = page(frozen).items
    for turn in range(2):
        for policy in (frozen, once, always):
            policy.update(other, catalogue, generator("update", turn))
        np.testing.assert_array_equal(page(frozen).items, before)
    again = make("level", {"updates": 1})
    again.restore(once.state())
    changed = again.state()["ranked"].copy()
    again.update(other, catalogue, generator("update", 3))
    np.testing.assert_array_equal(again.state()["ranked"], changed)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epsilon": 1.5}, "must be at least 0, at most 1"),
        ({"updates": 0.5}, "wants int"),
        ({"epsilom": 0.1}, "did you mean 'epsilon'"),
    ],
)
def test_impossible_settings_of_an_arm(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make("popularity", settings)
