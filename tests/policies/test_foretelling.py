"""What a policy says of answers is checked before it is believed."""

from typing import Any

import numpy as np
import pytest

from policies.calls import PolicyFailure, foretell
from policies.draws import generator
from policies.registry import make
from policies.testing import small_log


class Says:
    """A policy that foretells what it was made with."""

    history_length, history_of = 0, "clicks"
    fit = update = recommend = state = restore = lambda *_: None

    def __init__(self, told: Any):
        self.told = told

    def foretell(self, log: Any, catalogue: Any) -> Any:
        if self.told is ValueError:
            raise ValueError("no idea")
        return self.told


def asked(told: Any) -> dict[str, np.ndarray]:
    log, catalogue = small_log(rows=50)
    policy: Any = Says(told)
    return foretell("mine", policy, log.by_user(), catalogue)


def test_probabilities_pass() -> None:
    told = asked({"clicked": np.full(50, 0.25)})
    np.testing.assert_array_equal(told["clicked"], np.full(50, 0.25))
    assert asked({}) == {}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (ValueError, "failed in foretell: no idea|foretell.*no idea"),
        (np.full(50, 0.5), "wanted a dictionary"),
        ({"click": np.full(50, 0.5)}, "wanted some of clicked"),
        ({"clicked": np.full(49, 0.5)}, "a probability for each of 50 rows"),
        ({"clicked": np.full(50, 1.5)}, "no probability between 0 and 1"),
        ({"clicked": np.full(50, np.nan)}, "no probability between 0 and 1"),
    ],
)
def test_what_is_no_probability_is_one_line(told: Any, words: str) -> None:
    with pytest.raises(PolicyFailure, match=words):
        asked(told)


def test_a_policy_that_does_not_foretell_says_nothing() -> None:
    log, catalogue = small_log(rows=500)
    policy = make("popularity")
    policy.fit(log, catalogue, generator("fit"))
    assert foretell("popularity", policy, log.by_user(), catalogue) == {}
