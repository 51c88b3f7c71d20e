"""One page of many users as compiled loops: what `ChoiceModel.respond` does, user by user.

A user's answers depend on nothing but that user's own row, so the loops may take the users in any
order and any number.
"""

import math
from typing import NamedTuple

import numpy as np

from policies.common.compiled import compiled
from policies.loops.draws import started, uniform
from simulator.users import state

FADES = np.float32(state.FADES)
NOT, LONG, SHORT, PLAYED = 0, 1, 2, 3  # how an item was watched


class Numbers(NamedTuple):
    """The scalars of a choice model, and the numbers of the purposes that it draws for.

    A `_alone` is the logit of a reaction without a click; NaN = such reactions there are none.
    """

    satiation: np.float32
    half_life: float  # s
    repeat_fatigue: np.float32
    drift: np.float32
    drift_half_life: float  # s
    drift_by_click: np.float32
    drift_by_look: np.float32
    drift_by_chance: np.float32  # of the probability of a click
    leave: float
    leave_first_page: float
    leave_satisfaction: float
    satisfaction_reference: float
    plays: float  # share of the items looked at that play without a click
    long_view: np.float32
    long_view_appeal: np.float32
    like: np.float32
    like_appeal: np.float32
    like_alone: np.float32
    hate: np.float32
    hate_appeal: np.float32
    hate_alone: np.float32
    of_examine: np.uint64
    of_click: np.uint64
    of_long_view: np.uint64
    of_like: np.uint64
    of_hate: np.uint64
    of_plays: np.uint64
    of_watch: np.uint64
    of_leave: np.uint64


@compiled
def expit(x: np.float32) -> np.float32:
    one = np.float32(1)
    return one / (one + np.float32(math.exp(-x)))


@compiled
def taste(
    users: np.ndarray,
    items: np.ndarray,
    user_taste: np.ndarray,
    item_taste: np.ndarray,
) -> np.ndarray:
    """(B, K) float32 inner products of the vectors of users (B,) and items (B, K)."""
    out = np.empty(items.shape, np.float32)
    for b in range(len(users)):
        of_user = user_taste[users[b]]
        for k in range(items.shape[1]):
            of_item = item_taste[items[b, k]]
            x = np.float32(0)
            for d in range(len(of_user)):
                x += of_user[d] * of_item[d]
            out[b, k] = x
    return out


@compiled
def come_closer(
    users: np.ndarray,
    items: np.ndarray,
    appeal: np.ndarray,
    near: np.ndarray,
    chosen: np.ndarray,
    by: np.float32,
) -> None:
    """Adds `by` times the mean inner product of each item with what its user chose last to `appeal`
    (B, K), which it changes; `near`: (N + 1, D) vectors, 0 for item 0. Each choice weighs `FADES`
    times the one after it.
    """
    middle = np.empty(near.shape[1], np.float32)
    for b in range(len(users)):
        middle[:] = np.float32(0)
        weight, total = np.float32(1), np.float32(0)
        for m in range(chosen.shape[1]):
            item = chosen[users[b], m]
            if item > 0:
                middle += weight * near[item]
                total += weight
            weight *= FADES
        if total == 0:
            continue
        for k in range(items.shape[1]):
            x = np.float32(0)
            of_item = near[items[b, k]]
            for d in range(len(middle)):
                x += middle[d] * of_item[d]
            appeal[b, k] += by * x / total


@compiled
def choose(
    users: np.ndarray,
    items: np.ndarray,
    clicked: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """What users clicked becomes what they chose last: `chosen`, the latest first, is changed."""
    for b in range(len(users)):
        user = users[b]
        for k in range(items.shape[1]):
            if clicked[b, k]:
                for m in range(chosen.shape[1] - 1, 0, -1):
                    chosen[user, m] = chosen[user, m - 1]
                chosen[user, 0] = items[b, k]


@compiled
def reaction(
    start: np.uint64,
    slot: int,
    clicked: bool,
    by_appeal: np.float32,
    level: np.float32,
    of_click: np.float32,
    alone: np.float32,
) -> bool:
    """A like or negative feedback of an item that was looked at: `by_appeal` and `level` are parts
    of its logit, the third is `of_click` after a click and `alone` without one.
    """
    base = of_click if clicked else alone
    if math.isnan(base):
        return False
    return bool(uniform(start, slot) < expit(base + by_appeal + level))


@compiled
def decay(
    users: np.ndarray,
    now: np.ndarray,
    refreshed: np.ndarray,
    satiation: np.ndarray,
    drifted: np.ndarray,
    half_life: float,
    drift_half_life: float,
) -> None:
    """What these users remember at `now` (B,) s. See `UserState`, which it changes."""
    for b in range(len(users)):
        user = users[b]
        idle = max(now[b] - refreshed[user], 0.0)
        left = np.float32(2.0 ** (-idle / half_life))
        for c in range(satiation.shape[1]):
            satiation[user, c] *= left
        if drifted.shape[1]:
            left = np.float32(2.0 ** (-idle / drift_half_life))
            for c in range(drifted.shape[1]):
                drifted[user, c] *= left
        refreshed[user] = now[b]


@compiled
def tire(
    users: np.ndarray,
    items: np.ndarray,
    appeal: np.ndarray,
    category: np.ndarray,
    satiation: np.ndarray,
    drifted: np.ndarray,
    recent: np.ndarray,
    n: Numbers,
) -> None:
    """Takes from `appeal` (B, K) what satiation and repetition take away, less what drift adds.
    Category 0 neither tires nor drifts.
    """
    for b in range(len(users)):
        user = users[b]
        last = recent[user]
        for k in range(items.shape[1]):
            item = items[b, k]
            kind = category[item]
            away = np.float32(0)
            if kind > 0:
                away = satiation[user, kind] * n.satiation
                if drifted.shape[1]:
                    away -= n.drift * drifted[user, kind]
            repeats = 0
            for r in range(len(last)):
                repeats += last[r] == item
            appeal[b, k] -= away + n.repeat_fatigue * np.float32(repeats)


@compiled
def answer(
    users: np.ndarray,
    items: np.ndarray,
    keys: np.ndarray,
    appeal: np.ndarray,
    examination: np.ndarray,
    item_long: np.ndarray,
    item_like: np.ndarray,
    item_hate: np.ndarray,
    user_long: np.ndarray,
    user_like: np.ndarray,
    user_hate: np.ndarray,
    n: Numbers,
) -> tuple[np.ndarray, ...]:
    """What is looked at, clicked, watched, liked and hated.

    Args:
        keys: (B,) of `Draws`. appeal: (B, K) logits. examination: (K,) falling.

    Returns:
        looked (B,) how many items from the first one on; (B, K): probability of a click, clicked,
        how it was watched, the draw of the watch time (where it was), liked, hated.
    """
    b_, k_ = items.shape
    looked = np.zeros(b_, np.int64)
    probability = np.empty((b_, k_), np.float32)
    clicked = np.zeros((b_, k_), np.bool_)
    liked = np.zeros((b_, k_), np.bool_)
    hated = np.zeros((b_, k_), np.bool_)
    watched = np.zeros((b_, k_), np.uint8)
    draw = np.empty((b_, k_), np.float64)
    for b in range(b_):
        user, key = users[b], keys[b]
        until = uniform(started(key, n.of_examine), 0)
        click, plays = started(key, n.of_click), started(key, n.of_plays)
        view, watch = started(key, n.of_long_view), started(key, n.of_watch)
        like, hate = started(key, n.of_like), started(key, n.of_hate)
        for k in range(k_):
            x, item = appeal[b, k], items[b, k]
            chance = expit(x)
            probability[b, k] = chance * np.float32(examination[k])
            if until >= examination[k]:
                continue
            looked[b] = k + 1
            chosen = bool(uniform(click, k) < chance)
            clicked[b, k] = chosen
            if chosen:
                level = user_long[user] + item_long[item]
                is_long = uniform(view, k) < expit(n.long_view + n.long_view_appeal * x + level)
                watched[b, k] = LONG if is_long else SHORT
            elif n.plays > 0 and uniform(plays, k) < n.plays:
                watched[b, k] = PLAYED
            if watched[b, k] != NOT:
                draw[b, k] = uniform(watch, k)
            by, level = n.like_appeal * x, user_like[user] + item_like[item]
            liked[b, k] = reaction(like, k, chosen, by, level, n.like, n.like_alone)
            by, level = n.hate_appeal * x, user_hate[user] + item_hate[item]
            hated[b, k] = reaction(hate, k, chosen, by, level, n.hate, n.hate_alone)
    return looked, probability, clicked, watched, draw, liked, hated


@compiled
def remember(
    users: np.ndarray,
    items: np.ndarray,
    looked: np.ndarray,
    clicked: np.ndarray,
    probability: np.ndarray,
    category: np.ndarray,
    satiation: np.ndarray,
    drifted: np.ndarray,
    recent: np.ndarray,
    seen: np.ndarray,
    n: Numbers,
) -> None:
    """What a page leaves in its users: the arguments of `UserState` are changed."""
    moved = np.zeros(satiation.shape[1])
    for b in range(len(users)):
        user = users[b]
        for k in range(looked[b]):
            satiation[user, category[items[b, k]]] += np.float32(1)
            recent[user, (seen[user] + k) % recent.shape[1]] = items[b, k]
        seen[user] += looked[b]
        if not drifted.shape[1]:
            continue
        for k in range(items.shape[1]):
            by = n.drift_by_click * np.float32(clicked[b, k])
            by += n.drift_by_look * np.float32(k < looked[b])
            moved[category[items[b, k]]] += by + n.drift_by_chance * probability[b, k]
        for k in range(items.shape[1]):
            kind = category[items[b, k]]
            drifted[user, kind] += np.float32(moved[kind])
            moved[kind] = 0


@compiled
def leave(
    users: np.ndarray,
    pages: np.ndarray,
    keys: np.ndarray,
    clicked: np.ndarray,
    visit_shown: np.ndarray,
    visit_clicked: np.ndarray,
    n: Numbers,
) -> np.ndarray:
    """(B,) who asks for another page; counts the visit's items and clicks on the way."""
    b_, k_ = clicked.shape
    stays = np.empty(b_, np.bool_)
    for b in range(b_):
        user, fresh = users[b], pages[b] == 0
        clicks = 0
        for k in range(k_):
            clicks += clicked[b, k]
        share = np.float32(clicks) / np.float32(k_)
        if fresh:
            visit_shown[user] = 0
            visit_clicked[user] = 0
        visit_shown[user] += np.float32(k_)
        visit_clicked[user] += share * np.float32(k_)
        logit = n.leave + n.leave_satisfaction * (share - n.satisfaction_reference)
        if fresh:
            logit += n.leave_first_page
        chance = 1.0 / (1.0 + math.exp(-logit))
        stays[b] = uniform(started(keys[b], n.of_leave), 0) >= chance
    return stays


@compiled
def respond(
    users: np.ndarray,
    items: np.ndarray,
    pages: np.ndarray,
    now: np.ndarray,
    keys: np.ndarray,
    appeal: np.ndarray,
    examination: np.ndarray,
    category: np.ndarray,
    item_long: np.ndarray,
    item_like: np.ndarray,
    item_hate: np.ndarray,
    user_long: np.ndarray,
    user_like: np.ndarray,
    user_hate: np.ndarray,
    satiation: np.ndarray,
    drifted: np.ndarray,
    refreshed: np.ndarray,
    recent: np.ndarray,
    seen: np.ndarray,
    visit_shown: np.ndarray,
    visit_clicked: np.ndarray,
    n: Numbers,
) -> tuple[np.ndarray, ...]:
    """All of the above, one after the other. Changes `appeal` and the arrays of the state.

    Returns:
        what `answer` does, without `looked`; and who stays.
    """
    decay(users, now, refreshed, satiation, drifted, n.half_life, n.drift_half_life)
    tire(users, items, appeal, category, satiation, drifted, recent, n)
    looked, probability, clicked, watched, draw, liked, hated = answer(
        users,
        items,
        keys,
        appeal,
        examination,
        item_long,
        item_like,
        item_hate,
        user_long,
        user_like,
        user_hate,
        n,
    )
    remember(
        users,
        items,
        looked,
        clicked,
        probability,
        category,
        satiation,
        drifted,
        recent,
        seen,
        n,
    )
    stays = leave(users, pages, keys, clicked, visit_shown, visit_clicked, n)
    return probability, clicked, watched, draw, liked, hated, stays
