"""What holds of keyed random numbers for any users, purposes and batches."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.draws import Draws, key_of
from policies.loops.draws import number_of, started, uniform

USERS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30, unique=True)


@settings(max_examples=60, deadline=None)
@given(USERS, st.integers(0, 2**63), st.text(max_size=12), st.integers(1, 9), st.randoms())
def test_nobody_depends_on_the_company(
    users: list[int], key: int, purpose: str, n: int, chance: object
) -> None:
    who = np.array(users, np.int64)
    whole = Draws(key, who, who * 0).uniform(purpose, n)
    assert ((whole > 0) & (whole < 1)).all()
    order = list(range(len(users)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    some = np.array(order[: max(1, len(order) // 2)])
    np.testing.assert_array_equal(
        Draws(key, who[some], who[some] * 0).uniform(purpose, n), whole[some]
    )
    start = np.uint64(started(Draws(key, who, who * 0).keys[0], number_of(purpose)))
    assert [uniform(start, column) for column in range(n)] == whole[0].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_keys_are_64_bits_and_the_same_every_time(parts: list[str]) -> None:
    assert key_of(*parts) == key_of(*parts)
    assert 0 <= key_of(*parts) < 2**64
