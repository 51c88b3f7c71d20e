"""Calling a policy that somebody else wrote: whatever goes wrong in it is one line that names the
arm and the call, and nothing that it does reaches the experiment but by its answer.

Arrays that a policy gets are read-only; where it writes into them behind numpy's back (torch does
not ask) the change is found. The global random numbers of numpy and torch are no source of chance
for `recommend`, whose answers must be the same in any order of calls; training may use them, as
building a network does, and finds them seeded from its own generator.
"""

import ctypes
import errno
import random
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from policies.base import KINDS, Foretells, Policy, Requests, Slates
from policies.catalogue import Catalogue
from policies.common.errors import InputError, shown
from policies.common.files import let_go
from policies.common.strange import in_words, place_of
from policies.draws import Draws
from policies.log import Impressions
from policies.testing import PolicyError, check_shape_of, check_slates, check_state

T = TypeVar("T")


class PolicyFailure(InputError):
    """A policy that raised or broke the contract. `trace` is for the file beside the run."""

    file = "policy-error.txt"
    mend = "mend the policy"

    def __init__(self, line: str, trace: str):
        super().__init__(line, trace)  # SimPy and pickle make it anew from these
        self.trace = trace

    def __str__(self) -> str:
        return str(self.args[0])


def read_only(content: T) -> T:
    """The same dataclass with arrays that refuse to be written to."""
    views = {}
    for f in fields(content):  # type: ignore[arg-type]
        value = getattr(content, f.name)
        if isinstance(value, np.ndarray):
            view = value.view()
            view.flags.writeable = False
            views[f.name] = view
    return replace(content, **views)  # type: ignore[type-var]


@contextmanager
def calling(arm: str, call: str) -> Iterator[None]:
    """What a policy raises inside, as one line.

    Raises:
        PolicyFailure: it raised anything, `SystemExit` included. Ctrl-C stays what it is.
    """
    try:
        yield
    except (KeyboardInterrupt, PolicyFailure):
        raise
    except PolicyError as error:
        raise PolicyFailure(
            f"policy '{shown(arm)}' breaks the contract in {call}: {shown(error, 300)}",
            traceback.format_exc(),
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # not the policy's fault
            raise
        raise _failure(arm, call, error) from None
    except BaseException as error:
        raise _failure(arm, call, error) from None


def _failure(arm: str, call: str, error: BaseException) -> PolicyFailure:
    where, what = place_of(error), in_words(error)
    if isinstance(error, ValueError) and "read-only" in str(error):
        what += "; what a policy is given it may not change: work on a copy"
    return PolicyFailure(
        f"policy '{shown(arm)}' failed in {call}: {what}{where}", traceback.format_exc()
    )


# -- global random numbers -------------------------------------------------------------------------


def _torch() -> ModuleType | None:
    """torch where somebody has imported it."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):  # or is just importing it
        return None
    _say_it_now(torch)
    return torch


def _global_state() -> tuple[Any, ...]:
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    of_numpy, torch = ctypes.string_at(_place_of(generator), 2500), _torch()
    if torch is None:
        return of_numpy, None, 0
    return of_numpy, torch.get_rng_state(), torch.get_num_threads()


def _unchanged(before: tuple[Any, ...]) -> bool:
    """Whether the global state is still what it was; tensors are compared as they are, since a copy
    of their bytes would take as long as all the rest.
    """
    of_numpy, of_torch, threads = _global_state()
    if of_numpy != before[0] or threads != before[2]:
        return False
    if of_torch is None or before[1] is None:
        return of_torch is before[1]
    return bool(of_torch.equal(before[1]))


@lru_cache(maxsize=1)
def _place_of(generator: Any) -> int:
    """Where the state of numpy's global generator lies (MT19937: 624 words and the place among
    them). numpy's own copy of it takes a twentieth of a page.
    """
    return int(generator.ctypes.state_address)


@lru_cache(maxsize=1)
def _say_it_now(torch: ModuleType) -> None:
    """torch warns once in a process that it cannot keep an array read-only: once is now, since
    reading is all that an honest policy does.
    """
    array = np.zeros(1)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(array)


def _seed(torch: ModuleType, seed: int) -> None:
    """Where there is nothing but the CPU, its generator alone: for devices that are not there,
    torch keeps a traceback of each call, which takes longer than many a call of a policy.
    """
    devices = getattr(torch, "accelerator", None)  # from torch 2.6 on
    if devices is None or devices.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def own_chance(seed: int) -> Iterator[None]:
    """Global generators seeded for one call of training, and put back after it."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    torch = _torch()
    of_torch = (torch.get_rng_state(), torch.get_num_threads()) if torch is not None else None
    np.random.seed(seed % 2**32)  # noqa: NPY002 (a stranger's code may draw from it)
    random.seed(seed)
    if torch is not None:
        _seed(torch, seed)
    try:
        yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        if torch is not None and of_torch is not None:
            torch.set_rng_state(of_torch[0])
            torch.set_num_threads(of_torch[1])


@contextmanager
def unchanged_chance(complaint: Callable[[], Exception]) -> Iterator[None]:
    """Raises the complaint where global random numbers were used inside."""
    before = _global_state()
    yield
    if not _unchanged(before):
        raise complaint()


# -- the calls -------------------------------------------------------------------------------------


def made(arm: str, make: Callable[[], Policy]) -> Policy:
    """A fresh policy whose settings the engine can work with."""
    with calling(arm, "its constructor"), own_chance(0):
        try:
            policy = make()
        except InputError as error:  # it refuses its settings in words of its own
            trace = traceback.format_exc()
            raise PolicyFailure(f"policy '{shown(arm)}': {error}", trace) from None
        check_shape_of(policy)
    return policy


def train(
    arm: str,
    call: str,
    policy: Policy,
    log: Impressions,
    catalogue: Catalogue,
    rng: np.random.Generator,
) -> None:
    """`fit` or `update`.

    Raises:
        PolicyFailure: it raised, or changed what it was given.
    """
    before = _sums(log, catalogue)
    seed = zlib.crc32(str(rng.bit_generator.state).encode())
    with calling(arm, call):
        with own_chance(seed):
            getattr(policy, call)(read_only(log), read_only(catalogue), rng)
        after = _sums(log, catalogue)
        changed = next((name for name in before if before[name] != after[name]), None)
        if changed is not None:
            raise PolicyError(f"it changed {changed} in place; work on a copy")


def foretell(
    arm: str, policy: Policy, log: Impressions, catalogue: Catalogue
) -> dict[str, np.ndarray]:
    """`foretell`, checked; nothing of a policy that has no such method.

    Args:
        log: by user, rows that were shown.
    """
    if not isinstance(policy, Foretells):
        return {}
    with calling(arm, "foretell"):
        told = policy.foretell(read_only(log), read_only(catalogue))
        if not isinstance(told, dict):
            raise PolicyError(f"it gives {type(told).__name__}, wanted a dictionary of arrays")
        for kind, chance in told.items():
            if kind not in KINDS:
                raise PolicyError(
                    f"it gives '{shown(kind, 40)}', wanted some of {', '.join(KINDS)}"
                )
            values = np.asarray(chance)
            if values.shape != (len(log),) or values.dtype.kind not in "bif":
                raise PolicyError(
                    f"'{kind}' has shape {values.shape} of {values.dtype}, wanted a probability for"
                    f" each of {len(log)} rows"
                )
            if not ((values >= 0) & (values <= 1)).all():
                raise PolicyError(f"'{kind}' holds what is no probability between 0 and 1")
        return {kind: np.array(chance, np.float64) for kind, chance in told.items()}


def _sums(log: Impressions, catalogue: Catalogue) -> dict[str, int]:
    """A checksum of every array."""
    sums = {}
    for what, content in (("log", log), ("catalogue", catalogue)):
        for f in fields(content):
            value = getattr(content, f.name)
            if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                sums[f"{what}.{f.name}"] = zlib.crc32(np.ascontiguousarray(value).data.cast("B"))
                let_go(value)  # the policy may look at a few columns of a large log alone
    return sums


def slates(arm: str, policy: Policy, requests: Requests, k: int, draws: Draws) -> Slates:
    """`recommend`, checked.

    Args:
        requests: made for this call; its arrays cannot be written to afterwards.
    """
    with calling(arm, "recommend"):
        for name in Requests.__slots__:
            getattr(requests, name).flags.writeable = False
        with unchanged_chance(_uses_chance):
            found = policy.recommend(requests, k, draws)
        check_slates(found, requests, k)
        stated = found.propensity
        return Slates(  # of its own: a policy may use its arrays again
            np.array(found.items, np.int32),
            None if stated is None else np.array(stated, np.float32),
        )


def _uses_chance() -> Exception:
    return PolicyError(
        "it uses global random numbers (or changes torch's threads), so that its slates"
        " depend on who else is served; take random numbers from `draws`"
    )


def state_of(arm: str, policy: Policy) -> dict[str, np.ndarray]:
    """`state`, checked."""
    with calling(arm, "state"):
        state = policy.state()
        check_state(state)
    return state


def restore(arm: str, policy: Policy, state: dict[str, np.ndarray]) -> None:
    with calling(arm, "restore"), own_chance(0):
        policy.restore(state)
