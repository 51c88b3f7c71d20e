"""Users as environments: Gymnasium's own checks, what an agent may see, and many users as one."""

from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from policies.common.errors import InputError  # noqa: E402
from policies.log import Dataset  # noqa: E402
from simulator.gym import SlateEnv, SlateVectorEnv  # noqa: E402
from simulator.users.choice_model import ChoiceModel  # noqa: E402

IDS = [4, 17, 23]


@pytest.fixture
def users(small_world: tuple[Dataset, ChoiceModel]) -> ChoiceModel:
    return small_world[1]


@pytest.mark.filterwarnings("ignore:.*maximum value is infinity.*")
def test_gymnasium_finds_nothing_wrong(users: ChoiceModel) -> None:
    check_env(SlateEnv(users, user_id=3), skip_render_check=True)
    assert gymnasium.make("gptrec/Feed-v0", users=users, user_id=1).reset(seed=1)


def test_a_user_among_others_is_the_user_alone(users: ChoiceModel) -> None:
    together = SlateVectorEnv(users, IDS, slate_size=4, max_pages=5)
    alone = [SlateEnv(users, user, slate_size=4, max_pages=5) for user in IDS]
    seen, _ = together.reset(seed=5)
    ones = [env.reset(seed=5)[0] for env in alone]
    rng = np.random.default_rng(0)
    ends = np.zeros(3, int)
    for _ in range(60):
        for name in seen:
            np.testing.assert_array_equal(seen[name], np.stack([one[name] for one in ones]))
        actions = rng.integers(0, users.n_items, (3, 4))
        seen, rewards, left, cut, info = together.step(actions)
        for i, env in enumerate(alone):
            one, reward, mine, my_cut, more = env.step(actions[i])
            assert (reward, mine, my_cut) == (rewards[i], left[i], cut[i])
            np.testing.assert_array_equal(more["shown"], info["shown"][i])
            if mine or my_cut:
                final = {name: array[i] for name, array in info["final_obs"].items()}
                np.testing.assert_equal(one, final)
                one, _ = env.reset()
            ones[i] = one
        ends += left | cut
    assert (ends > 2).all()
    assert cut.dtype == bool


def test_a_seed_is_a_life(users: ChoiceModel) -> None:
    env = SlateVectorEnv(users, IDS)
    actions = np.tile(np.arange(6), (3, 1))

    def clicks(seed: int) -> list[Any]:
        env.reset(seed=seed)
        return [env.step(actions)[1].tolist() for _ in range(20)]

    first = clicks(1)
    assert first == clicks(1)
    assert first != clicks(2)


def test_what_may_not_be_shown_is_replaced_and_counted(users: ChoiceModel) -> None:
    available = np.ones(users.n_items + 1, bool)
    available[8] = False
    env = SlateVectorEnv(users, [0], slate_size=4, repeat_after=4, available=available)
    env.reset(seed=0)
    # 5 twice, and 8 is not there: 6 and 9 stand in
    _, _, _, _, info = env.step(np.array([[4, 4, 7, 1]]))
    assert info["shown"].tolist() == [[5, 6, 9, 2]]
    assert info["replaced"].tolist() == [2]
    _, _, _, _, info = env.step(np.array([[4, users.n_items - 1, users.n_items - 1, 20]]))
    assert info["shown"].tolist() == [[7, users.n_items, 1, 21]]  # all four were just shown
    assert info["replaced"].tolist() == [2]


def test_an_agent_sees_the_past_and_never_the_truth(users: ChoiceModel) -> None:
    env = SlateEnv(users, 2, slate_size=3)
    seen, _ = env.reset(seed=3)
    assert set(seen) == {"items", "feedback", "ages", "page"}
    assert not seen["items"].any()
    after, reward, _, _, info = env.step(np.array([10, 11, 12]))
    assert set(info) == {"shown", "clicked", "replaced"}
    assert after["items"][-3:].tolist() == [11, 12, 13]
    np.testing.assert_array_equal(after["feedback"][-3:], info["clicked"])
    assert reward == info["clicked"].sum()
    assert (after["ages"][-3:] > 0).all()
    assert after["page"] == 1


def test_a_visit_is_cut_at_its_longest_and_a_reward_may_be_ones_own(users: ChoiceModel) -> None:
    env = SlateVectorEnv(
        users, range(50), max_pages=2, reward=lambda feedback: feedback.watched.sum(axis=1)
    )
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    _, _, left, cut, _ = env.step(rng.integers(0, users.n_items, (50, 6)))
    assert left.any()
    assert not cut.any()
    seen, reward, left, cut, _ = env.step(rng.integers(0, users.n_items, (50, 6)))
    assert cut.any()
    assert not (left & cut).any()
    assert (seen["page"][left | cut] == 0).all()
    assert (reward != np.round(reward)).any()


@pytest.mark.parametrize(
    "action",
    [
        np.arange(6)[None],
        np.tile(np.arange(7), (3, 1)),
        np.full((3, 6), 0.9),
        np.tile(np.arange(6) - 8, (3, 1)),
        np.full((3, 6), 10**6),
        np.int64(3),
    ],
    ids=["users", "longer", "floats", "negative", "beyond", "scalar"],
)
def test_an_action_that_is_none_is_refused(users: ChoiceModel, action: np.ndarray) -> None:
    env = SlateVectorEnv(users, IDS)
    with pytest.raises(InputError, match="reset comes before step"):
        env.step(action)
    env.reset(seed=0)
    with pytest.raises(InputError, match="an action"):
        env.step(action)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"user_ids": [-1]}, {"user_ids": []}, {"slate_size": 0}, {"max_pages": 0}),
        *({"user_ids": [0.5]}, {"user_ids": 3}, {"repeat_after": -1}, {"available": np.ones(3)}),
    ],
)
def test_what_cannot_be_is_refused(users: ChoiceModel, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SlateVectorEnv(users, **wrong)
