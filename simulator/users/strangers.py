"""Users that somebody else makes, as the engine wants them: `module:Class`, checked at every call.

Whatever goes wrong in them is one line that names the call. What they are given they may not keep:
each call gets arrays of its own, and changes the rows of the state alone.
"""

import copy
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, TypeVar

import numpy as np

from policies.calls import PolicyFailure, own_chance, read_only, unchanged_chance
from policies.catalogue import Catalogue
from policies.common.errors import InputError, shown, suggestion
from policies.common.strange import imported, in_words, place_of
from policies.draws import Draws
from policies.log import Dataset, Impressions
from simulator.users.base import Arrays, UserModel
from simulator.users.state import Feedback, OwnState

T = TypeVar("T")
PAUSE = 1.0  # s between two visits, at least
NEEDED = ("first_visit", "start", "respond", "next_visit")
TELLS = frozenset({"watch", "long_view", "likes", "hates"})
OF_PAGES = {
    "clicked": bool,
    "watched": np.float32,
    "long_view": bool,
    "liked": bool,
    "hated": bool,
    "appeal": np.float32,
    "probability": np.float32,
}


class UserModelError(AssertionError):
    """A user model breaks the contract; the text says how and what to mend."""


class UserModelFailure(PolicyFailure):
    """A user model that raised or broke the contract."""

    file = "user-model-error.txt"
    mend = "mend the user model"


def known() -> dict[str, str]:
    """Names of entry points -> "module:Class"."""
    return {point.name: point.value for point in entry_points(group="gptrec.user_models")}


def is_stranger(kind: str) -> bool:
    """Whether this names users of somebody else."""
    return ":" in kind or kind in known()


@contextmanager
def calling(name: str, call: str) -> Iterator[None]:
    """What a user model raises inside, as one line."""
    try:
        yield
    except (KeyboardInterrupt, UserModelFailure):
        raise
    except UserModelError as error:
        raise UserModelFailure(
            f"user model '{shown(name)}' breaks the contract in {call}: {shown(error, 300)}",
            traceback.format_exc(),
        ) from None
    except BaseException as error:
        where, what = place_of(error), in_words(error)
        if isinstance(error, ValueError) and "read-only" in str(error):
            what += "; but for the state, what it is given it may not change: work on a copy"
        raise UserModelFailure(
            f"user model '{shown(name)}' failed in {call}: {what}{where}", traceback.format_exc()
        ) from None


def made(kind: str) -> UserModel:
    """A fresh user model by its name.

    Raises:
        InputError: there is none, or it lacks something.
    """
    target = known().get(kind, kind)
    module, colon, name = target.partition(":")
    if not colon:
        raise InputError(f"unknown user model '{kind}'{suggestion(kind, known())}")
    found = imported(f"user model '{shown(kind)}'", module)
    make = getattr(found, name, None)
    if not callable(make):
        names = [key for key, value in vars(found).items() if callable(value)]
        raise InputError(
            f"user model '{shown(kind)}': '{module}' has no class or function"
            f" '{name}'{suggestion(name, names)}"
        )
    with calling(kind, "its constructor"), own_chance(0):
        model: UserModel = make()
        check_methods(model)
    return model


def check_methods(model: object) -> None:
    """Raises UserModelError where something that every user model needs is not there."""
    for name in NEEDED:
        if not callable(getattr(model, name, None)):
            raise UserModelError(f"it has no method '{name}'; see simulator/users/base.py")
    wrong = set(getattr(model, "tells", ()) or ()) - TELLS
    if wrong:
        raise UserModelError(
            f"tells holds {', '.join(sorted(map(str, wrong)))}; wanted of"
            f" {', '.join(sorted(TELLS))}"
        )


def check_sizes(model: object, n_items: int) -> None:
    """Raises UserModelError where it cannot be users of so many items."""
    for name in ("n_users", "n_items"):
        value = getattr(model, name, None)
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise UserModelError(f"{name} must be a whole number above 0, not {shown(value, 40)}")
    if model.n_items != n_items:  # type: ignore[attr-defined]
        raise UserModelError(
            f"n_items is {model.n_items}, and the log has {n_items} items"  # type: ignore[attr-defined]
        )


@dataclass(frozen=True)
class Strangers:
    """A population of users that somebody else makes.

    Attributes:
        name: "module:Class". model: theirs. rows: (n,) the number of the user of the model that
            place i of the population is like.
    """

    name: str
    model: UserModel
    rows: np.ndarray

    # what a fitted model has besides, and these users have not
    log_users = None
    log_size = None
    last_chosen = None
    item_near = None
    mixing = None

    @staticmethod
    def learned(
        name: str, log: Impressions, catalogue: Catalogue, rng: np.random.Generator
    ) -> "Strangers":
        """Made, and taught by the log where they can be."""
        model = made(name)
        with calling(name, "fit"):
            if callable(getattr(model, "fit", None)):
                with own_chance(0):
                    model.fit(read_only(log), read_only(catalogue), rng)  # type: ignore[attr-defined]
            check_sizes(model, catalogue.size)
        return Strangers(name, model, np.arange(model.n_users))

    @staticmethod
    def restored(name: str, learned: Arrays, level: float | None, rows: np.ndarray) -> "Strangers":
        """Made again, in another process or after an interruption."""
        model = made(name)
        if callable(getattr(model, "restore", None)):
            with calling(name, "restore"), own_chance(0):
                model.restore(learned)  # type: ignore[attr-defined]
        users = Strangers(name, model, rows)
        return users if level is None else users.with_level(level)

    def learned_arrays(self) -> Arrays:
        """What it has learned from the log; {} where it says nothing of it."""
        if not callable(getattr(self.model, "state", None)):
            return {}
        with calling(self.name, "state"):
            arrays: Arrays = self.model.state()  # type: ignore[attr-defined]
            check_stored(arrays)
        return arrays

    def numbers(self) -> dict[str, dict[str, Any]]:
        """Its parameters with where they come from, as far as it says so."""
        if not callable(getattr(self.model, "provenance", None)):
            return {}
        with calling(self.name, "provenance"):
            rows = self.model.provenance()  # type: ignore[attr-defined]
            return dict(map(_number_of, rows))

    @property
    def parameters(self) -> dict[str, Any]:
        return {}

    @property
    def provenance(self) -> dict[str, tuple[str, str]]:
        return {}

    @property
    def n_users(self) -> int:
        return len(self.rows)

    @property
    def n_items(self) -> int:
        return int(self.model.n_items)

    @property
    def known(self) -> np.ndarray:
        return np.arange(self.n_users)

    @property
    def first_unknown(self) -> int:
        return self.n_users

    @property
    def tells(self) -> frozenset[str]:
        return frozenset(getattr(self.model, "tells", ()) or ())

    @property
    def level(self) -> float | None:
        """What is added to the logit of every click; None where it cannot be set."""
        value = getattr(self.model, "level", None)
        with calling(self.name, "level"):
            return None if value is None else float(value)

    @property
    def knows_truth(self) -> bool:
        return callable(getattr(self.model, "click_probability", None))

    def as_users_of(self, data: Dataset) -> "Strangers":
        """As the users of a log; whom the model does not know, as nothing of them was shown to it,
        is like another.

        Raises:
            UserModelFailure: they are not the users of this log.
        """
        shown_to_it = 1 + int(max(x.user.max(initial=-1) for x in (data.log, data.history)))
        n = int(self.model.n_users)
        with calling(self.name, "fit"):
            if n not in (shown_to_it, data.n_users):
                raise UserModelError(
                    f"it has {n} users, and the log {data.n_users}, the first {shown_to_it} of them"
                    " with rows that it was given: to be held against the log, user i of it has to"
                    " be user i of the log"
                )
        return self.of_users(np.arange(data.n_users) % n)

    def with_level(self, level: float) -> "Strangers":
        with calling(self.name, "level"):
            model = copy.copy(self.model)
            model.level = level  # type: ignore[attr-defined]
        return replace(self, model=model)

    def of_users(self, rows: np.ndarray) -> "Strangers":
        return replace(self, rows=self.rows[rows])

    def busy_time(self, t: np.ndarray) -> np.ndarray:
        """Newcomers come at any hour: nobody says when these users do."""
        return np.asarray(t, np.float64)

    def clock_time(self, busy: np.ndarray) -> np.ndarray:
        return np.asarray(busy, np.float64)

    # -- the calls ---------------------------------------------------------------------------------

    def _asked(self, call: str, work: Callable[[], T]) -> T:
        before = random.getstate()
        with calling(self.name, call), unchanged_chance(_uses_chance):
            found = work()
            if random.getstate() != before:
                raise _uses_chance()
        return found

    def start(self, n_users: int, now: float) -> OwnState:
        users = self.rows[:n_users].copy()
        with calling(self.name, "start"):
            arrays = self._asked("start", lambda: self.model.start(users, now))
            check_arrays(arrays, n_users)
        return OwnState({name: np.array(array) for name, array in arrays.items()})

    def respond(
        self,
        state: OwnState,
        users: np.ndarray,
        items: np.ndarray,
        pages: np.ndarray,
        now: np.ndarray,
        draws: Draws,
    ) -> Feedback:
        who, slates, turns, times = self.rows[users], *(np.array(x) for x in (items, pages, now))
        for array in (who, slates, turns, times):
            array.flags.writeable = False
        mine = {name: array[users] for name, array in state.arrays.items()}
        found = self._asked(
            "respond", lambda: self.model.respond(mine, who, slates, turns, times, draws)
        )
        with calling(self.name, "respond"):
            answers = checked_answers(found, items.shape)
            self._keep(state, mine, users)
        return answers

    def next_visit(
        self, state: OwnState, users: np.ndarray, since: np.ndarray, draws: Draws
    ) -> np.ndarray:
        mine = {name: array[users] for name, array in state.arrays.items()}
        found = self._asked(
            "next_visit",
            lambda: self.model.next_visit(mine, self.rows[users], since.copy(), draws),
        )
        with calling(self.name, "next_visit"):
            times = checked_times(found, since)
            self._keep(state, mine, users)
        return times

    def first_visit(self, users: np.ndarray, start: float, draws: Draws) -> np.ndarray:
        found = self._asked(
            "first_visit", lambda: self.model.first_visit(self.rows[users], start, draws)
        )
        with calling(self.name, "first_visit"):
            return checked_times(found, np.full(len(users), start), first=True)

    def click_probability(self, state: OwnState, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        if not self.knows_truth:
            raise InputError(
                f"user model '{self.name}' states no click_probability, which the oracle asks for"
            )
        mine = {name: array[users] for name, array in state.arrays.items()}
        found = self._asked(
            "click_probability",
            lambda: self.model.click_probability(mine, self.rows[users], now.copy()),  # type: ignore[attr-defined]
        )
        with calling(self.name, "click_probability"):
            return checked_chances(found, len(users), self.n_items)

    def _keep(self, state: OwnState, mine: Arrays, users: np.ndarray) -> None:
        """The rows of the state as the call left them."""
        if mine.keys() != state.arrays.keys():
            raise UserModelError("it adds or drops arrays of the state; start gives them all")
        for name, array in mine.items():
            kept = state.arrays[name]
            if np.shape(array) != (len(users), *kept.shape[1:]):
                raise UserModelError(
                    f"it makes state['{shown(name, 40)}'] of shape {np.shape(array)}; change the"
                    " rows in place"
                )
            if np.asarray(array).dtype != kept.dtype:
                raise UserModelError(
                    f"it makes state['{shown(name, 40)}'] {np.asarray(array).dtype}, and start gave"
                    f" {kept.dtype}: fractions would be lost; give it that type from the start"
                )
            kept[users] = array


def _uses_chance() -> Exception:
    return UserModelError(
        "it uses global random numbers (or changes torch's threads), so that answers depend on who"
        " else is asked; take random numbers from `draws`"
    )


# -- what comes back -------------------------------------------------------------------------------


def _number_of(row: object) -> tuple[str, dict[str, Any]]:
    """A row of provenance as `parameters.json` holds it."""
    parts = tuple(row) if isinstance(row, tuple | list) else ()
    if len(parts) != 5 or parts[3] not in ("estimated", "assumed"):
        raise UserModelError(
            "provenance wants rows of (name, value, standard error or None, 'estimated' or"
            f" 'assumed', source), not {shown(repr(row), 80)}"
        )
    name, value, error, status, source = parts
    number = {"value": float(value), "status": status, "source": str(source)}
    return str(name), number | {"error": None if error is None else float(error)}


def check_stored(arrays: object) -> None:
    """Raises UserModelError unless this is a dictionary of arrays that can be stored."""
    if not isinstance(arrays, dict):
        raise UserModelError(f"it gives {type(arrays).__name__}, wanted a dictionary of arrays")
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            kind = f"of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise UserModelError(
                f"'{shown(name, 40)}' must be a numpy array of numbers, not {kind}: it has to be"
                " stored and restored"
            )


def check_arrays(arrays: dict[str, np.ndarray], n: int) -> None:
    """Raises UserModelError unless these can be stored and have n rows."""
    check_stored(arrays)
    for name, value in arrays.items():
        if value.shape[:1] != (n,):
            raise UserModelError(
                f"'{shown(name, 40)}' has shape {value.shape}, wanted ({n}, ...): a row for each"
                " user"
            )


def checked_answers(found: object, shape: tuple[int, ...]) -> Feedback:
    """The answers with the types that files want.

    Raises:
        UserModelError: something is missing or of another shape.
    """
    if not isinstance(found, Feedback):
        raise UserModelError(
            f"it gives {type(found).__name__}, wanted Feedback.of(clicked, stays, seconds, ...)"
        )
    arrays: dict[str, Any] = {}
    wanted = {name: (shape, kind) for name, kind in OF_PAGES.items()}
    wanted |= {"stays": (shape[:1], bool), "seconds": (shape[:1], np.float64)}
    for name, (size, kind) in wanted.items():
        value = np.asarray(getattr(found, name))
        if value.shape != size:
            raise UserModelError(f"{name} has shape {value.shape}, wanted {size}")
        if kind is bool and value.dtype != bool:
            raise UserModelError(f"{name} must hold true and false, not {value.dtype}")
        arrays[name] = value.astype(kind)
    seconds, watched, p = arrays["seconds"], arrays["watched"], arrays["probability"]
    if not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise UserModelError("seconds must be finite and not below 0: the time spent on the page")
    if not (np.isfinite(watched) & (watched >= 0)).all():
        raise UserModelError("watched must be finite and not below 0")
    if not (np.isnan(p) | ((p >= 0) & (p <= 1))).all():
        raise UserModelError("probability must lie in [0, 1], or be NaN where it is not known")
    return Feedback(**arrays)


def checked_times(found: object, since: np.ndarray, first: bool = False) -> np.ndarray:
    """(B,) float64 s."""
    times = np.asarray(found, np.float64)
    if times.shape != since.shape:
        raise UserModelError(f"it gives shape {times.shape}, wanted {since.shape}: a time for each")
    if not (times >= since + (0.0 if first else PAUSE)).all():
        raise UserModelError(
            "it gives a time before the start"
            if first
            else f"it gives a time that is not {PAUSE:g} s after the end of the visit; inf means"
            " never"
        )
    return times.copy()


def checked_chances(found: object, n: int, n_items: int) -> np.ndarray:
    """(B, N + 1) float32."""
    p = np.array(found, np.float32)
    if p.shape != (n, n_items + 1):
        raise UserModelError(f"it gives shape {p.shape}, wanted {(n, n_items + 1)}")
    if not ((p >= 0) & (p <= 1)).all() or p[:, 0].any():
        raise UserModelError("probabilities must lie in [0, 1], and be 0 for padding")
    return p
