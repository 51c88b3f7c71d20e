"""`check_policy`: the contract of a policy as an executable test. Shipped, for third parties."""

import copy
from collections.abc import Callable

import numpy as np

from policies.base import PAD, NeedsTruth, Policy, Requests, Slates
from policies.catalogue import Catalogue
from policies.common.errors import shown
from policies.draws import Draws, generator, key_of
from policies.log import Impressions


def small_log(
    n_users: int = 60, n_items: int = 40, rows: int = 6000
) -> tuple[Impressions, Catalogue]:
    """A log to try a policy on: half of the users click even items, half odd ones."""
    rng = generator("policies.testing.small_log")
    user = rng.integers(0, n_users, rows)
    item = rng.integers(1, n_items + 1, rows)
    liked = rng.random(rows) < np.where(user % 2 == item % 2, 0.7, 0.1)
    log = Impressions.of(
        user=user,
        item=item,
        time=np.sort(rng.random(rows) * -86_400 * 7),
        clicked=liked,
        watched=liked * 30.0,
        session=np.arange(rows) // 6,
        page=np.zeros(rows),
        slot=np.arange(rows) % 6,
    )
    catalogue = Catalogue.of(
        np.array([f"item-{i}" for i in range(1, n_items + 1)]), duration=np.full(n_items, 60.0)
    )
    return log.sorted(), catalogue


def sample_requests(
    policy: Policy, n_users: int = 60, n_items: int = 40, pages: int = 1
) -> Requests:
    """Requests with histories of all lengths, items withdrawn and items excluded, on `page` pages -
    1.
    """
    rng = generator("policies.testing.requests", pages)
    length = int(policy.history_length)
    users = np.arange(n_users, dtype=np.int32) * 3  # some of them unknown to the policy
    items = rng.integers(1, n_items + 1, (n_users, length)).astype(np.int32)
    known = rng.integers(0, length + 1, n_users)
    items[np.arange(length) < (length - known)[:, None]] = PAD
    feedback = (rng.random(items.shape) < 0.5).astype(np.float32)
    if policy.history_of == "clicks":
        feedback[:] = 1
    feedback[items == PAD] = 0
    available = np.arange(n_items + 1) > 0
    available[[3, 7]] = False
    exclude = rng.integers(1, n_items + 1, (n_users, 4)).astype(np.int32)
    exclude[::3, :2] = PAD
    return Requests(
        users=users,
        sessions=np.full(n_users, 5, np.int32),
        pages=np.full(n_users, pages - 1, np.int16),
        now=np.full(n_users, 1000.0),
        items=items,
        feedback=feedback,
        said=(rng.integers(0, 3, items.shape) * (items > 0)).astype(np.int8),
        ages=np.where(items > 0, rng.random(items.shape) * 86_400, 0).astype(np.float32),
        turns=np.full(items.shape, -1, np.int16),
        exclude=exclude,
        available=available,
    )


LONGEST_HISTORY = 10_000
LARGEST_WAVE = 1_000_000  # users


class PolicyError(AssertionError):
    """A policy breaks the contract; the text says how and what to mend."""


def check_policy(make: Callable[[], Policy], slate_size: int = 5, n_draws: int = 10_000) -> None:
    """Fits the policy on a small log and raises PolicyError at the first rule of the contract that
    it breaks.

    Args:
        make: makes a fresh policy, e.g. the class itself.
        n_draws: pages drawn to compare stated propensities with what is shown.
    """
    policy = _made(make)
    check_shape_of(policy)
    log, catalogue = small_log()
    kept = copy.deepcopy(log)
    policy.fit(log, catalogue, generator("check", "fit"))
    _check_unchanged(kept, log, "fit", "log")
    requests = sample_requests(policy)
    _check_page(policy, requests, slate_size)
    _check_alone(policy, requests, slate_size)
    _check_propensity(policy, requests, slate_size, n_draws)
    policy.update(log, catalogue, generator("check", "update"))
    _check_page(policy, requests, slate_size)
    _check_state(policy, _made(make), requests, slate_size)


class MadeUpTruth:
    """A truth for policies that ask for one, from keyed draws."""

    def __init__(self, n_items: int = 40):
        self.n_items = n_items

    def click_probability(self, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        draws = Draws(key_of("made-up truth"), users, np.zeros_like(users))
        chance = draws.uniform("chance", self.n_items + 1).astype(np.float32)
        chance[:, PAD] = 0
        return chance


def _made(make: Callable[[], Policy]) -> Policy:
    """A fresh policy, with the truth if it asks for it."""
    policy = make()
    if isinstance(policy, NeedsTruth):
        policy.see_truth(MadeUpTruth())
    return policy


def _draws(requests: Requests, run: int = 0) -> Draws:
    return Draws(key_of("check_policy", run), requests.users, requests.sessions, requests.pages)


def check_shape_of(policy: Policy) -> None:
    for name in ("fit", "update", "recommend", "state", "restore"):
        if not callable(getattr(policy, name, None)):
            raise PolicyError(f"the policy has no method '{name}'; see policies/base.py:Policy")
    if getattr(policy, "history_of", None) not in ("impressions", "clicks"):
        raise PolicyError(
            "history_of must be 'impressions' or 'clicks'; set it as a class or instance attribute"
        )
    _check_whole("history_length", getattr(policy, "history_length", None), 0, LONGEST_HISTORY)
    _check_whole("wave", getattr(policy, "wave", 1), 1, LARGEST_WAVE)


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if (
        not isinstance(value, int | np.integer)
        or isinstance(value, bool)
        or not least <= value <= most
    ):
        raise PolicyError(
            f"{name} must be an integer from {least} to {most}, not {shown(repr(value), 40)}"
        )


def _check_unchanged(before: object, after: object, method: str, what: str) -> None:
    for name in before.__slots__:  # type: ignore[attr-defined]
        old, new = getattr(before, name), getattr(after, name)
        if not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            raise PolicyError(f"{method} changed {what}.{name} in place; work on a copy")


def _check_page(policy: Policy, requests: Requests, k: int) -> Slates:
    kept = copy.deepcopy(requests)
    slates = policy.recommend(requests, k, _draws(requests))
    _check_unchanged(kept, requests, "recommend", "requests")
    check_slates(slates, requests, k)
    return slates


def check_slates(slates: Slates, requests: Requests, k: int) -> None:
    """Raises PolicyError unless these slates are a valid answer to these requests."""
    if not isinstance(slates, Slates):
        raise PolicyError(
            f"recommend gives {type(slates).__name__}, wanted policies.base.Slates(items)"
        )
    items = np.asarray(slates.items)
    if items.shape != (len(requests), k):
        raise PolicyError(
            f"slates have shape {items.shape}, wanted {(len(requests), k)}: one row per request, K"
            " items"
        )
    if items.dtype.kind not in "iu":
        raise PolicyError(
            f"slates hold {items.dtype}, wanted integers: return item ids, not scores"
        )
    _check_items(items, requests)
    if slates.propensity is not None:
        p = np.asarray(slates.propensity)
        if p.shape != items.shape:
            raise PolicyError(
                f"propensity has shape {p.shape}, wanted {items.shape}: one number per slot"
            )
        if not ((p > 0) & (p <= 1 + 1e-6)).all():
            raise PolicyError(
                "propensities must lie in (0, 1]: the probability of this item in this slot"
            )


def _check_items(items: np.ndarray, requests: Requests) -> None:
    from policies.loops import faults  # where somebody is served: numba takes its time

    fault, row, slot = faults.first_fault(
        np.ascontiguousarray(items, np.int64), requests.exclude, requests.available
    )
    item = items[row, slot] if len(items) else 0
    if fault == faults.RANGE:
        raise PolicyError(
            f"item {item} is out of range: ids are 1..{len(requests.available) - 1}, and 0"
            " (padding) may not be shown"
        )
    if fault == faults.UNAVAILABLE:
        raise PolicyError(f"item {item} is unavailable now; keep to requests.available")
    if fault == faults.TWICE:
        raise PolicyError(
            f"a slate repeats an item (user {requests.users[row]}: {items[row].tolist()}); draw"
            " without replacement"
        )
    if fault == faults.EXCLUDED:
        raise PolicyError(
            "a slate shows an item of requests.exclude (seen a short while ago); leave those out"
        )


def _check_alone(policy: Policy, requests: Requests, k: int) -> None:
    whole = policy.recommend(requests, k, _draws(requests)).items
    again = policy.recommend(requests, k, _draws(requests)).items
    if not np.array_equal(whole, again):
        raise PolicyError(
            "the same requests and draws gave other slates; take random numbers from `draws` and"
            " nothing else"
        )
    shuffled = np.random.Generator(np.random.PCG64(1)).permutation(len(requests))
    for label, pick in (
        ("alone", np.array([4])),
        ("in a batch of 7", np.arange(7)),
        ("in another order", shuffled),
    ):
        part = requests.rows(pick)
        got = policy.recommend(part, k, _draws(part)).items
        if not np.array_equal(got, whole[pick]):
            raise PolicyError(
                f"a user served {label} gets another slate than in the whole batch; a slate may"
                " depend on its own row alone (pad torch batches to a fixed shape)"
            )


def _check_propensity(policy: Policy, requests: Requests, k: int, n: int) -> None:
    slates = policy.recommend(requests, k, _draws(requests))
    if slates.propensity is None:
        return
    one = requests.rows(np.zeros(n, np.int64))
    draws = Draws(key_of("check_policy", "propensity"), np.zeros(n, np.int32), np.arange(n), 0)
    drawn = policy.recommend(one, k, draws)
    if drawn.propensity is None:
        raise PolicyError(
            "propensities are stated for some batches only; state them always or never"
        )
    for slot in range(k):
        for item in np.unique(drawn.items[: min(n, 200), slot]):
            hits = drawn.items[:, slot] == item
            stated = float(drawn.propensity[hits, slot].mean())
            shown = float(hits.mean())
            slack = 5 * np.sqrt(max(stated * (1 - stated), 1 / n) / n) + 1e-6
            if abs(shown - stated) > slack:
                raise PolicyError(
                    f"stated propensity {stated:.4f} of item {item} in slot {slot}, shown in"
                    f" {shown:.4f} of {n} pages; state the marginal probability of this item in"
                    " this slot, or None"
                )


def check_state(state: object) -> None:
    """Raises PolicyError unless this is a dictionary of arrays that can be stored."""
    if not isinstance(state, dict):
        raise PolicyError(f"state() gives {type(state).__name__}, wanted a dictionary of arrays")
    for name, value in state.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise PolicyError(f"state() has the key {shown(repr(name), 40)}; wanted a plain name")
        plain = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        if not plain or value.dtype.itemsize > 8:  # files know no longer numbers
            kind = f"of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise PolicyError(
                f"state()['{shown(name, 40)}'] must be a numpy array of numbers, not {kind}"
            )


def _check_state(policy: Policy, fresh: Policy, requests: Requests, k: int) -> None:
    state = policy.state()
    check_state(state)
    fresh.restore({name: value.copy() for name, value in state.items()})
    before = policy.recommend(requests, k, _draws(requests)).items
    if not np.array_equal(fresh.recommend(requests, k, _draws(requests)).items, before):
        raise PolicyError(
            "a policy restored from state() gives other slates; put everything that matters into"
            " state()"
        )
