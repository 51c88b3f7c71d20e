"""Keyed random numbers: uniform, and nobody's business but the user's."""

import subprocess
import sys

import numpy as np
from scipy.stats import kstest

from policies.draws import Draws, key_of
from policies.loops.draws import number_of, started, uniform


def draws(users: np.ndarray, key: int = 1) -> Draws:
    return Draws(key, users, np.zeros_like(users), np.zeros_like(users))


def test_numbers_do_not_depend_on_the_batch() -> None:
    users = np.arange(500, dtype=np.int32)
    whole = draws(users).uniform("click", 7)
    part = np.array([3, 499, 17])
    assert np.array_equal(draws(users[part]).uniform("click", 7), whole[part])
    assert np.array_equal(draws(users).rows(part).uniform("click", 7), whole[part])
    assert np.array_equal(draws(users).uniform("click", 3), whole[:, :3])


def test_purpose_user_session_page_and_key_all_matter() -> None:
    one = np.array([5])
    base = Draws(1, one, one, one).uniform("a", 1)
    others = [
        Draws(1, one, one, one).uniform("b", 1),
        Draws(1, one + 1, one, one).uniform("a", 1),
        Draws(1, one, one + 1, one).uniform("a", 1),
        Draws(1, one, one, one + 1).uniform("a", 1),
        Draws(2, one, one, one).uniform("a", 1),
        Draws(1, one, one, one).derived("c").uniform("a", 1),
    ]
    assert len({float(x[0, 0]) for x in [base, *others]}) == 7


def test_uniform_and_gumbel_have_their_distributions() -> None:
    d = draws(np.arange(20_000))
    u = d.uniform("u", 2)
    assert kstest(u.ravel(), "uniform").pvalue > 0.001
    assert abs(np.corrcoef(u.T)[0, 1]) < 0.03
    assert kstest(d.gumbel("g", 1).ravel(), "gumbel_r").pvalue > 0.001
    assert kstest(d.normal("n", 1).ravel(), "norm").pvalue > 0.001


def test_neighbouring_sessions_and_pages_are_independent() -> None:
    users = np.arange(5000)
    zero = np.zeros_like(users)
    first = Draws(1, users, zero, zero).uniform("u", 1)[:, 0]
    for other in (Draws(1, users, zero + 1, zero), Draws(1, users, zero, zero + 1)):
        assert abs(np.corrcoef(first, other.uniform("u", 1)[:, 0])[0, 1]) < 0.05


def test_the_same_in_another_process() -> None:
    code = (
        "from policies.draws import *; import numpy as np;"
        "print(repr(Draws(key_of('s', 3), np.arange(3), np.arange(3)).uniform('x', 2).tolist()))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    here = repr(Draws(key_of("s", 3), np.arange(3), np.arange(3)).uniform("x", 2).tolist())
    assert texts == {here + "\n"}


def test_single_entries_equal_the_table() -> None:
    """Those of compiled loops, one number at a time."""
    d, purpose = draws(np.arange(50)), number_of("click")
    loop = [
        [uniform(np.uint64(started(key, purpose)), column) for column in range(7)] for key in d.keys
    ]
    assert np.array_equal(d.uniform("click", 7), loop)
