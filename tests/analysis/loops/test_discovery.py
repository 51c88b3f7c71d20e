"""New items, by hand."""

import numpy as np
import pytest

from analysis.loops.discovery import discovery


def test_deserved_exposure_and_the_wait_for_it() -> None:
    """Two old items and two new ones, there from the rounds 1 and 2 on, as good as each other."""
    merit = np.full(4, 0.2)
    born = np.array([-np.inf, -np.inf, 90.0, 150.0])
    exposure = np.array(
        [
            [50, 50, 0, 0],
            [50, 25, 25, 9],  # a third of the 100 of those that are there is deserved
            [40, 30, 26, 4],
            [25, 25, 10, 40],
        ]
    )
    found = discovery(exposure, merit, born, 100.0)
    assert np.isnan(found["new_reached"][0])
    assert found["new_reached"][1:].tolist() == [0, 0.5, 0.5 + 0.5]
    # the first one waits for a round, the second one for one as well, from round 2 on
    assert found["new_wait"][1:].tolist() == [1, 1, 1]
    assert np.isnan(found["new_unseen"]).all()  # none is above the median


def test_good_new_items_never_shown() -> None:
    merit = np.array([0.1, 0.1, 0.1, 0.3, 0.3])
    born = np.array([-np.inf, -np.inf, 10.0, 10.0, 10.0])
    exposure = np.array([[5, 5, 0, 0, 1], [5, 5, 0, 0, 0], [5, 5, 0, 3, 0]])
    found = discovery(exposure, merit, born, 100.0)
    assert found["new_unseen"][1:].tolist() == [0.5, 0]


def test_items_from_before_are_no_news_and_nobody_served_reaches_nothing() -> None:
    none = discovery(np.ones((3, 4)), np.ones(4), np.full(4, -np.inf), 10.0)
    assert all(np.isnan(x).all() for x in none.values())
    born = np.array([-np.inf, 5.0])
    empty = discovery(np.zeros((3, 2)), np.ones(2), born, 10.0)
    assert empty["new_reached"][1:].tolist() == [0, 0]
    assert empty["new_wait"][-1] == pytest.approx(2)
