"""The same item shown to the same user again: slots freed of what the policy knew, and what no
prediction knows.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from policies.draws import generator
from policies.log import Dataset, Impressions
from simulator.fitting.examination import (
    assumed_examination,
    fit_examination,
    unseen_variance,
    within_pairs,
)
from simulator.fitting.fit_users import fit
from simulator.fitting.posterior import unflattened
from simulator.users.choice_model import ChoiceModel
from tests.conftest import SHORT

REACH = np.array([1.0, 0.85, 0.7, 0.6])


def pages(
    seed: int, users: int = 400, items: int = 12, times: int = 20
) -> tuple[Impressions, np.ndarray]:
    """Pages of four, sorted by a policy that knows appeal up to noise, and (users, items) the
    appeal.
    """
    rng = generator("pages in order", seed)
    appeal = rng.normal(-0.5, 1.0, (users, items))
    user = np.repeat(np.arange(users), times)
    guess = appeal[user] + rng.gumbel(size=(len(user), items))
    item = np.argsort(-guess, axis=1)[:, :4]
    depth = (rng.random((len(user), 1)) < REACH).sum(axis=1)
    clicked = (rng.random(item.shape) < expit(appeal[user[:, None], item])) & (
        np.arange(4) < depth[:, None]
    )
    page = np.arange(len(user))
    log = Impressions.of(
        user=np.repeat(user, 4),
        item=item.ravel() + 1,
        slot=np.tile(np.arange(4), len(user)),
        time=np.repeat(page, 4) * 1.0,
        page=np.repeat(page % times, 4),
        clicked=clicked.ravel(),
    )
    return log, appeal


def test_slots_are_told_from_a_policy_that_puts_good_items_first() -> None:
    off, inside = [], []
    for seed in range(12):
        log, _ = pages(seed)
        plain = np.bincount(log.slot, log.clicked) / np.bincount(log.slot)
        assert plain[3] / plain[0] < REACH[3] - 0.05  # the order is mistaken for the slot
        found = within_pairs(log, 12, np.ones(len(log)))
        assert found is not None
        z = (np.log(found[0][1:]) - np.log(REACH[1:])) / found[1][1:]
        off.append(z.mean())
        inside.append(np.abs(z) < 1.96)
    assert abs(np.mean(off)) < 4 / np.sqrt(12)
    assert np.mean(inside) > 0.8  # 36 intervals of 95 %


def test_a_mood_that_goes_with_the_slot_is_allowed_for() -> None:
    log, _ = pages(3)
    rng = generator("mood")
    worse = np.where(log.slot == 0, 0.7, 1.0)  # the first slot comes in a bad mood
    moody = replace(log, clicked=log.clicked & (rng.random(len(log)) < worse))
    plain, known = within_pairs(moody, 12, np.ones(len(log))), within_pairs(moody, 12, worse)
    assert plain is not None
    assert known is not None
    assert (
        np.abs(np.log(known[0][1:] / REACH[1:])).max()
        < 0.15
        < np.log(plain[0][1:] / REACH[1:]).min()
    )


def test_without_repeats_slots_are_told_by_appeal_and_the_source_says_so(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, true = small_world
    score = true.appeal(data.log.user, data.log.item[:, None])[:, 0].astype(float)
    again = fit_examination(data, score)
    assert again.error is not None
    assert "conditional Poisson" in again.source
    assert (np.diff(again.value) <= 0).all()
    assert again.value[0] == 1.0
    code = data.log.user.astype(np.int64) * 1000 + data.log.item
    once = np.sort(np.unique(code, return_index=True)[1])
    alone = fit_examination(replace(data, log=data.log.rows(once)), score[once])
    assert alone.error is None
    assert "too few pairs" in alone.source
    # the whole appeal was known
    np.testing.assert_allclose(alone.value[:6], true.examination[:6], atol=0.1)
    silent = replace(data, log=replace(data.log, clicked=np.zeros(len(data.log), bool)))
    assert fit_examination(silent, score).status == "assumed"
    assert assumed_examination("x").value[5] == pytest.approx(6**-0.12)


def test_slots_that_nothing_compares_with_the_first_are_not_made_up(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    rng = generator("header and grid")
    user = np.repeat(np.arange(300), 40)
    header = rng.random(len(user)) < 0.5
    item = np.where(header, rng.integers(1, 4, len(user)), rng.integers(4, 8, len(user)))
    slot = np.where(header, rng.integers(0, 2, len(user)), rng.integers(2, 5, len(user)))
    examination = np.array([1.0, 0.9, 0.4, 0.35, 0.3])
    log = Impressions.of(
        user=user,
        item=item,
        slot=slot,
        time=np.arange(len(user)) * 1.0,
        clicked=rng.random(len(user)) < 0.4 * examination[slot],
    )
    found = within_pairs(log, 8, np.ones(len(log)))
    assert found is not None
    assert found[0][1] == pytest.approx(0.9, abs=0.1)
    assert np.isinf(found[1][2:]).all()
    # One row stands deep in a page, where nobody saw its item elsewhere: the curve goes on as
    # before.
    data = small_world[0]
    deep = replace(data.log, slot=data.log.slot.copy(), item=data.log.item.copy())
    last = int(np.argmax(data.log.user == data.log.user.max()))
    seen = set(data.log.item[data.log.user == data.log.user[last]].tolist())
    deep.slot[last], deep.item[last] = 60, min(set(range(1, 121)) - seen, default=1)
    score = np.full(len(deep), -1.0)
    odd = fit_examination(replace(data, log=deep), score)
    assert np.isfinite(odd.value).all()
    assert odd.error is not None
    np.testing.assert_allclose(odd.value[5:], odd.value[5], rtol=1e-6)


def test_a_slot_of_few_rows_is_not_told(small_world: tuple[Dataset, ChoiceModel]) -> None:
    log, _ = pages(1)
    rare = replace(log, slot=log.slot.copy(), clicked=log.clicked.copy())
    odd = np.flatnonzero(rare.slot == 3)[:10]
    rare.slot[odd], rare.clicked[odd] = 4, False
    found = within_pairs(rare, 12, np.ones(len(rare)))
    assert found is not None
    assert np.isinf(found[1][4])
    rare.clicked[odd[:6]] = True
    few = within_pairs(rare, 12, np.ones(len(rare)))
    assert few is not None
    assert few[1][4] > 0.3  # six clicks


@pytest.mark.parametrize("sd", [0.0, 0.7, 1.2])
def test_what_no_prediction_knows_is_told_by_repeats(sd: float) -> None:
    rng = generator("unseen", sd)
    user, item = (a.ravel() for a in np.meshgrid(np.arange(300), np.arange(1, 21)))
    known, unseen = rng.normal(-0.7, 0.8, len(user)), sd * rng.normal(size=len(user))
    pair = np.tile(np.arange(len(user)), 6)
    seen = np.tile([1.0, 0.8, 0.6], 2)[np.repeat(np.arange(6), len(user))]
    clicked = rng.random(len(pair)) < seen * expit(known + unseen)[pair]
    log = Impressions.of(
        user=user[pair], item=item[pair], time=np.arange(len(pair)) * 1.0, clicked=clicked
    )
    # What clicks follow on average over what is unseen.
    logits = known[pair] / np.sqrt(1 + 0.346 * sd**2)
    found = unseen_variance(log, 20, logits, seen)
    assert found is not None
    value, error = found
    assert error < 0.1
    assert value == pytest.approx(sd**2, abs=3 * error + 0.1 * sd**2)
    first = log.rows(np.arange(len(user)))
    assert unseen_variance(first, 20, logits[: len(user)], seen[: len(user)]) is None


def test_the_fit_uses_both(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data, true = small_world
    fitted = fit(data, 0, 6, lambda text: None, chains=SHORT)
    assert fitted.examination is not None
    assert fitted.unseen is not None
    assert fitted.examination.error is not None
    z = (
        np.log(fitted.examination.value[1:6] / true.examination[1:6])
        / fitted.examination.error[1:6]
    )
    assert np.abs(z).max() < 3.5
    assert 0.05 < fitted.unseen[0] < 1.0
    assert fitted.shown[2] > 1.0
    left_open = [
        fitted.model(k).user_taste[:, -8:] @ fitted.model(k).item_taste[1:, -8:].T
        for k in range(len(fitted))
    ]
    assert np.mean([x.var() for x in left_open]) == pytest.approx(fitted.unseen[0], rel=0.15)
    assert "different slots" in fitted.model(0).provenance["examination"][1]


@pytest.mark.parametrize("eta", [-6.0, -1.0, 0.4, 3.0])
def test_slopes_of_an_answer_are_freed_of_what_the_appeal_does_not_know(eta: float) -> None:
    unknown = generator("unflattened", eta).normal(size=400_000) * 0.8
    at = [float(logit(expit(x + unknown).mean())) for x in (eta - 0.05, eta, eta + 0.05)]
    found, steeper = unflattened(at[1], 0.8)
    assert found == pytest.approx(eta, abs=0.01)
    assert steeper == pytest.approx(0.1 / (at[2] - at[0]), rel=0.01)
    assert unflattened(eta, 0.0) == (eta, 1.0)
