"""Parts of a fit in threads beside each other: the same users, bit for bit."""

import numpy as np
import pytest

from policies.log import Dataset
from simulator.fitting.fit_users import fit_users
from simulator.users.choice_model import ChoiceModel
from tests.conftest import SHORT


def test_threads_change_no_bit_of_the_users(
    small_world: tuple[Dataset, ChoiceModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = []
    for workers in ("1", "3"):
        monkeypatch.setenv("GPTREC_WORKERS", workers)
        fits.append(fit_users(small_world[0], chains=SHORT))
    one, three = fits
    assert one.parameters == three.parameters
    assert one.parameters["like"].status == "estimated"  # its chain ran beside others
    for name in ("user_level", "item_level", "user_taste", "item_taste", "user_like", "item_hate"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name), err_msg=name)
