"""RecGPT: dialogues that leak nothing, caching that changes nothing, interests one
after the other.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gptrec.interests import quotas
from gptrec.model import NEW_USER, ORGANIC, OTHER_SKIPPED, SAID, SAID_CLICKED, SAID_SKIPPED
from gptrec.policy import GPTRec
from gptrec.prompts import segments_of, turns, with_generated
from policies.base import BY_LOG, BY_OTHER, BY_SELF, Requests
from policies.baselines.sasrec import SASRec
from policies.draws import Draws, generator
from policies.log import Impressions
from policies.neural.dialogues import Memory, dialogues_of, skip_rank
from policies.neural.sequences import Sequences, autoregressive
from policies.testing import sample_requests, small_log

TINY: dict[str, Any] = {
    "epochs": 1,
    "prompt_epochs": 1,
    "prompt_share": 0.25,
    "width": 16,
    "length": 12,
    "window": 20,
    "room": 12,
    "answers": False,  # interests alone; tests/policies/neural/test_answering.py has the others
}


@pytest.fixture(scope="module", params=[False, True], ids=["tied", "untied"])
def trained(request: pytest.FixtureRequest) -> GPTRec:
    policy = GPTRec(**TINY, interests=3, untied=request.param)
    policy.fit(*small_log(), generator("test"))
    return policy


def pages(
    n: int,
    k: int,
    clicked: list[int],
    item0: int = 1,
    user: int = 0,
    time0: float = 0.0,
    by: int = BY_SELF,
) -> Impressions:
    """n pages of k different items; `clicked` are indices into all rows."""
    rows = np.arange(n * k)
    return Impressions.of(
        user=np.full(n * k, user),
        item=item0 + rows,
        time=time0 + (rows // k) * 60.0,
        page=rows // k,
        slot=rows % k,
        clicked=np.isin(rows, clicked),
        bucket=np.full(n * k, by),
    )


def test_segments_say_who_spoke_and_what_was_answered() -> None:
    clicked = np.array([True, False, True, False, True, False])
    said = np.array([BY_SELF, BY_SELF, BY_LOG, BY_LOG, BY_OTHER, BY_OTHER])
    expected = [SAID_CLICKED, SAID_SKIPPED, ORGANIC, OTHER_SKIPPED, ORGANIC, OTHER_SKIPPED]
    assert segments_of(clicked, said).tolist() == expected


def test_skips_are_counted_within_their_page() -> None:
    page = np.array([0, 0, 0, 0, 1, 1, 1])
    clicked = np.array([False, True, False, False, False, False, True])
    assert skip_rank(page, clicked)[~clicked].tolist() == [0, 1, 2, 0, 1]
    assert skip_rank(np.stack([page, page]), np.stack([clicked, clicked]))[1][
        ~clicked
    ].tolist() == [0, 1, 2, 0, 1]


def test_a_page_enters_after_its_loss() -> None:
    talks = dialogues_of(
        pages(2, 4, clicked=[1, 2, 7]), Memory.empty(6), skips=1, segments_of=segments_of
    )
    # Page 1: item 1 skipped, 2 and 3 clicked, 4 skipped; page 2: 5, 6, 7 skipped, 8 clicked.
    assert talks.items.tolist() == [1, 2, 3, 5, 8]
    assert talks.segments.tolist() == [
        SAID_SKIPPED,
        SAID_CLICKED,
        SAID_CLICKED,
        SAID_SKIPPED,
        SAID_CLICKED,
    ]
    assert talks.targets.tolist() == [2, 3, 8]
    assert talks.before.tolist() == [0, 0, 3]
    assert [set(row) - {0} for row in talks.skipped] == [{1, 4}, {1, 4}, {5, 6, 7}]


def test_causality_changing_a_pages_answers_leaves_its_inputs_alone() -> None:
    log = pages(4, 4, clicked=[0, 5, 6, 9, 14])
    flipped = log.clicked.copy()
    third = log.page == 2
    flipped[third] = ~flipped[third]
    other = Impressions.of(
        **{name: getattr(log, name) for name in log.__slots__} | {"clicked": flipped}
    )
    inputs = []
    for one in (log, other):
        talks = dialogues_of(one, Memory.empty(8), skips=2, segments_of=segments_of)
        (batch,) = turns(talks, 40, 50, 1000, np.random.default_rng(0), 0)
        target_page = np.array([int((t - 1) // 4) for t in batch.targets])
        state = int(batch.where[target_page == 2][0])
        inputs.append(
            (state, batch.items[0, : state + 1].tolist(), batch.segments[0, : state + 1].tolist())
        )
    assert inputs[0] == inputs[1]
    assert inputs[0][0] > 0


def test_every_click_is_a_target_once_whatever_the_windows() -> None:
    rng = np.random.default_rng(0)
    log, _ = small_log()
    talks = dialogues_of(log, Memory.empty(8), skips=2, segments_of=segments_of)
    targets = np.concatenate([b.targets for b in turns(talks, 40, 9, 300, rng, 5)])
    assert np.array_equal(
        np.bincount(targets, minlength=41), np.bincount(log.item[log.clicked], minlength=41)
    )


def test_a_clicks_weight_goes_with_it_into_dialogues_and_generated_prompts(trained: GPTRec) -> None:
    rng = np.random.default_rng(0)
    log, _ = small_log()
    weighted = Impressions.of(
        **{name: getattr(log, name) for name in log.__slots__} | {"weight": log.item / 10.0}
    )
    batches = list(
        turns(
            dialogues_of(weighted, Memory.empty(8), skips=2, segments_of=segments_of),
            40,
            9,
            300,
            rng,
            5,
        )
    )
    woven = [
        with_generated(trained.net, b, 0.5, rng)
        for b in autoregressive(Sequences.of(weighted), 40, 9, 300, rng)
    ]
    for batch in (*batches, *woven):
        assert np.allclose(batch.weights, batch.targets / 10.0)


def test_memory_goes_on_where_the_last_round_ended() -> None:
    first, second = pages(2, 3, [0, 4]), pages(2, 3, [1, 5], item0=11, time0=1000.0)
    memory = Memory.empty(10).after(dialogues_of(first, Memory.empty(10), 1))
    together = dialogues_of(Impressions.concat([first, second]), Memory.empty(10), 1)
    apart = dialogues_of(second, memory, 1)
    assert apart.items.tolist() == together.items.tolist()
    assert apart.before.tolist() == together.before[-2:].tolist()
    assert memory.after(apart).items.tolist() == Memory.empty(10).after(together).items.tolist()


def test_generated_prompts_are_woven_in_and_never_predicted(trained: GPTRec) -> None:
    rng = np.random.default_rng(0)
    log, catalogue = small_log()
    batch = next(autoregressive(Sequences.of(log), catalogue.size, 10, 200, rng))
    woven = with_generated(trained.net, batch, 0.5, rng)
    said = woven.segments == SAID
    assert said.sum() > 5
    for row in range(len(batch.items)):
        kept = woven.items[row][~said[row]]
        assert kept[kept > 0].tolist() == batch.items[row][batch.items[row] > 0].tolist()
    width = woven.items.shape[1]
    target = dict(zip(woven.where.tolist(), woven.targets.tolist(), strict=True))
    for row, column in zip(*np.nonzero(said), strict=True):
        # The same answer is expected before and after the prompt is said.
        assert target[row * width + column] == target[row * width + column - 1]
    assert len(woven.targets) == len(batch.targets) + said.sum()


def session(policy: GPTRec | SASRec, n_pages: int, k: int, n_users: int = 70) -> list[Requests]:
    """The requests of the pages of one session: each page's items join the histories of
    the next.
    """
    rng = np.random.default_rng(0)
    found = []
    base = sample_requests(policy, n_users)
    items, feedback, said, ages = (
        np.array(x) for x in (base.items, base.feedback, base.said, base.ages)
    )
    turn = np.full(items.shape, -1, np.int16)
    ages = np.where(items > 0, 10_000.0 + 100 * np.arange(items.shape[1])[::-1], 0).astype(
        np.float32
    )
    for page in range(n_pages):
        now = np.full(n_users, 100.0 * page)
        found.append(
            Requests(
                base.users,
                base.sessions,
                np.full(n_users, page, np.int16),
                now,
                items.copy(),
                feedback.copy(),
                said.copy(),
                ages + now[:, None].astype(np.float32),
                turn.copy(),
                base.exclude,
                base.available,
            )
        )
        shown = rng.integers(1, 41, (n_users, k)).astype(np.int32)
        clicks = rng.random((n_users, k)) < 0.4
        for user in range(n_users):
            keep = (
                np.arange(k) if policy.history_of == "impressions" else np.flatnonzero(clicks[user])
            )
            m = len(keep)
            for array, new in (
                (items, shown[user, keep]),
                (feedback, clicks[user, keep]),
                (said, BY_SELF),
                (ages, -now[user]),
                (turn, page),
            ):
                array[user] = np.concatenate(
                    [array[user, m:], np.broadcast_to(new, m).astype(array.dtype)]
                )
    return found


@pytest.mark.parametrize("kind", ["sasrec", "gptrec"])
def test_cache_equals_recomputation_over_the_same_context(kind: str, trained: GPTRec) -> None:
    k = 4
    cached: Any = trained
    fresh: Any = GPTRec(**TINY, interests=3, cache=False, chunk=16, untied=trained.untied)
    if kind == "sasrec":
        settings: dict[str, Any] = {"epochs": 1, "width": 16, "length": 12, "room": 12}
        settings["untied"] = trained.untied
        cached, fresh = SASRec(**settings), SASRec(**settings, cache=False, chunk=16)
        cached.fit(*small_log(), generator("test"))
    fresh.restore(cached.state())
    with torch.inference_mode():
        for request in session(cached, 8, k):
            states = []
            for policy in (cached, fresh):
                if not policy.cache:
                    policy._store.wave = None
                wave, at = policy._advance(request, k, policy._store)
                states.append(F.normalize(wave.last[at], dim=-1))
            assert torch.allclose(states[0], states[1], atol=1e-5), f"page {request.pages[0]}"


def test_at_the_start_of_a_session_only_the_last_tokens_count(trained: GPTRec) -> None:
    request = session(trained, 1, 4)[0]
    shorter = np.array(request.items)
    hidden = trained.history_length - trained.window
    shorter[:, :hidden] = 7  # older than the window
    other = Requests(
        **{name: getattr(request, name) for name in request.__slots__} | {"items": shorter}
    )
    draws = Draws(0, request.users, request.sessions)
    assert np.array_equal(
        trained.recommend(request, 5, draws).items, trained.recommend(other, 5, draws).items
    )


def test_interests_with_caching_equal_interests_from_scratch(trained: GPTRec) -> None:
    request = session(trained, 1, 6)[0]
    got = trained.recommend(request, 6, Draws(0, request.users, request.sessions)).items
    sizes = quotas(6, 3, 1)
    assert sizes == [4, 1, 1]
    net, start = trained.net, 41
    vectors = F.normalize(net.item_vectors(), dim=-1)
    entries = trained._entries(request, trained._store, 6)
    for row in range(12):
        keep = np.flatnonzero(entries.keep[row])[-trained.length :]
        items, segments = [start, *entries.items[row, keep]], [0, *entries.segments[row, keep]]
        taken = [*request.exclude[row], 3, 7, 0]
        slate: list[int] = []
        for size in sizes:
            tokens = torch.tensor([items]), torch.tensor([segments])
            user = torch.from_numpy(net.user_rows(request.users[row : row + 1]))
            with torch.no_grad():
                x = net.embed(*tokens, user, torch.arange(len(items))[None])
                for block in net.blocks:
                    x = block(x)
                scores = (F.normalize(net.norm(x)[0, -1], dim=-1) @ vectors.T).clone()
            scores[[int(i) for i in {*taken, *slate}]] = -torch.inf
            best = scores.topk(size).indices.tolist()
            slate += best
            items, segments = [*items, best[0]], [*segments, SAID]
        assert got[row].tolist() == slate


@pytest.mark.parametrize("placement", ["every", "last"])
@pytest.mark.parametrize("per_prompt", [1, 3])
def test_prompts_stand_where_they_were_asked_for(
    trained: GPTRec, placement: str, per_prompt: int
) -> None:
    log, _ = small_log()
    rng = np.random.default_rng(0)
    for batch in autoregressive(Sequences.of(log), 40, 9, 300, rng):
        woven = with_generated(
            trained.net,
            batch,
            0.0,
            rng,
            placement=placement,
            per_prompt=per_prompt,
            heat=1.0,
            hard=True,
        )
        clicks = (batch.items > 0).sum(axis=1)  # with the start token: as many as targets
        prompts = (woven.segments == SAID).sum(axis=1)
        assert np.array_equal(
            prompts, per_prompt * (clicks if placement == "every" else np.ones_like(clicks))
        )
        spoken = woven.segments == SAID
        for row in range(len(spoken)):
            assert np.array_equal(
                woven.items[row][~spoken[row]][: clicks[row]], batch.items[row][: clicks[row]]
            )
        n = len(batch.targets)
        behind = woven.targets[n:]
        assert len(behind) == prompts.sum() // per_prompt
        said = woven.items.ravel()[woven.where[n:][:, None] - np.arange(per_prompt)[::-1]]
        assert (woven.segments.ravel()[woven.where[n:]] == SAID).all()
        assert np.array_equal(woven.skipped[n:], np.where(said == behind[:, None], 0, said))
        assert all(len(set(row)) == per_prompt for row in said)


def test_what_follows_a_prompt_may_learn_what_the_first_interest_misses(trained: GPTRec) -> None:
    log, _ = small_log()
    batch = next(autoregressive(Sequences.of(log), 40, 9, 300, np.random.default_rng(0)))
    trained.net.eval()
    with torch.no_grad():
        states = trained.net.scale(trained.net.states(batch)[torch.from_numpy(batch.where)])
        scores = (states @ trained.net.scale(trained.net.item_vectors()).T)[:, 1:].numpy()
    own = scores[np.arange(len(scores)), batch.targets - 1]
    below = (scores > own[:, None]).sum(axis=1)
    for differ in (0, 5, 40):
        woven = with_generated(
            trained.net, batch, 0.0, np.random.default_rng(0), placement="every", differ=differ
        )
        n = len(batch.targets)
        assert np.array_equal(woven.weights[:n], batch.weights)
        assert np.array_equal(woven.weights[n:] > 0, below >= differ)
    assert 0 < (below >= 5).mean() < 1


def test_a_curriculum_brings_prompts_in_gradually(trained: GPTRec) -> None:
    log, _ = small_log()
    clicks = Sequences.of(log)
    policy = GPTRec(**TINY, curriculum=True, prompt_budget=0.25)
    policy.begin(clicks, 40, 60, generator("curriculum"))
    (stage,) = policy.stages(clicks)
    assert stage.share == 1.0
    assert stage.weave is not None
    batch = next(autoregressive(clicks, 40, 9, 300, np.random.default_rng(0)))
    rng = np.random.default_rng(1)
    woven = [
        np.mean([stage.weave(batch, rng, done) is not batch for _ in range(100)])
        for done in (0.0, 0.5, 1.0)
    ]
    assert woven[0] == 0.0
    assert woven == pytest.approx([0.0, 0.25, 0.5], abs=0.15)
    assert [stage.name for stage in GPTRec(**TINY).stages(clicks)] == ["pre-training", "prompts"]


def test_unknown_users_share_a_trained_row(trained: GPTRec) -> None:
    assert trained.net.user_rows(np.array([0, 59, 60, 10_000])).tolist() == [
        1,
        60,
        NEW_USER,
        NEW_USER,
    ]
    fresh = GPTRec(**TINY)._make(40, 60)
    fresh.initialise(np.zeros((41, 16), np.float32), torch.Generator().manual_seed(0))
    assert not torch.allclose(
        trained.net.user.weight[NEW_USER], fresh.user.weight[NEW_USER], atol=1e-3
    )


def test_quotas_fill_the_slate() -> None:
    assert quotas(20, 2, 2) == [18, 2]
    assert quotas(6, 1, 1) == [6]
    assert quotas(2, 4, 1) == [1, 1]
    assert sum(quotas(5, 3, 3)) == 5


def test_skips_are_read_only_where_the_log_has_taught_their_meaning() -> None:
    log, catalogue = small_log()
    first = np.arange(len(log)) // 6 * 6  # six items to a page
    log = replace(log, user=log.user[first], time=log.time[first])
    clicks = log.rows(log.clicked)
    chosen = replace(clicks, shown=np.zeros(len(clicks), bool))
    for given, read in ((log, True), (chosen, False)):
        policy = GPTRec(**TINY, heads=2)
        policy.fit(given, catalogue, generator("fit"))
        assert ("is not read" in policy.says_) == (not read)
        policy.update(log, catalogue, generator("update"))
        again = GPTRec(**TINY, heads=2)
        again.restore(policy.state())
        old = {name: array for name, array in policy.state().items() if name != "talk.skips"}
        before = GPTRec(**TINY, heads=2)
        before.restore(old)  # of a run that was begun before it was stored
        assert before._skips == before.skips
        requests = replace(
            sample_requests(policy, n_users=8), said=np.full((8, policy.history_length), 1, np.int8)
        )
        skipped = replace(requests, items=np.where(requests.feedback > 0, requests.items, 0))
        draws = Draws(1, requests.users, requests.sessions)
        for one in (policy, again):
            one.cache = False
            shown = one.recommend(requests, 6, draws).items
            without = one.recommend(skipped, 6, draws).items
            assert np.array_equal(shown, without) != read


def test_what_is_said_ahead_has_a_segment_that_was_trained() -> None:
    """Prompts alone teach what an unanswered item means: without them it counts as clicked."""
    assert GPTRec(**TINY)._ahead() == SAID
    assert GPTRec(**{**TINY, "prompt_share": 0.0})._ahead() == ORGANIC
