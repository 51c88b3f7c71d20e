"""Users who cannot promise to answer twice alike, kept to their word: a language model, say, or a
service that somebody else runs.

    def users():
        return memo(MyLanguageModel(), "answers.sqlite")

    python -m simulator.run --user-model my_module:users

Every answer is kept in a file by who was asked (user, session and page, by their draws), the slate,
the time and what the user had in mind. Whoever asks the same again gets the answer from the file,
in another process, after an interruption or in a twin world; only new questions reach the model.
The file is the users' word: a run that is to be repeated needs the same file.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from policies.draws import Draws
from simulator.users.base import Arrays, UserModel
from simulator.users.state import Feedback

WAIT = 600.0  # s, for another process that writes


def memo(model: UserModel, file: str | Path) -> "Memo":
    """The same users, who answer the same question once.

    Args:
        file: SQLite, made where there is none.
    """
    return Memo(model, Path(file))


class Memo:
    """See `memo`. Everything but the answers is the model's own."""

    def __init__(self, model: UserModel, file: Path):
        self._model, self._file = model, file.resolve()
        self._store: sqlite3.Connection | None = None
        self._name: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_model":
            raise AttributeError(name)
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._model, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model, "_file": self._file, "_store": None, "_name": None}

    def __copy__(self) -> "Memo":
        """With a model of its own: whoever sets its level sets it there alone."""
        import copy

        return Memo(copy.copy(self._model), self._file)

    # -- the calls ---------------------------------------------------------------------------------

    def first_visit(self, users: np.ndarray, start: float, draws: Draws) -> np.ndarray:
        def ask(rows: np.ndarray, _: Arrays) -> Arrays:
            times = self._model.first_visit(users[rows], start, draws.rows(rows))
            return {"time": np.asarray(times)}

        keys = _keys(f"first visit {self._whose}", draws, [users, np.full(len(users), start)], {})
        return self._answers(keys, {}, ask)["time"]

    def start(self, users: np.ndarray, now: float) -> Arrays:
        return self._model.start(users, now)

    def respond(
        self,
        state: Arrays,
        users: np.ndarray,
        items: np.ndarray,
        pages: np.ndarray,
        now: np.ndarray,
        draws: Draws,
    ) -> Feedback:
        def ask(rows: np.ndarray, mine: Arrays) -> Arrays:
            found = self._model.respond(
                mine, users[rows], items[rows], pages[rows], now[rows], draws.rows(rows)
            )
            return {f.name: np.asarray(getattr(found, f.name)) for f in fields(Feedback)}

        keys = _keys(f"page {self._whose}", draws, [users, items, pages, now], state)
        return Feedback(**self._answers(keys, state, ask))

    def next_visit(
        self, state: Arrays, users: np.ndarray, since: np.ndarray, draws: Draws
    ) -> np.ndarray:
        def ask(rows: np.ndarray, mine: Arrays) -> Arrays:
            times = self._model.next_visit(mine, users[rows], since[rows], draws.rows(rows))
            return {"time": np.asarray(times)}

        keys = _keys(f"next visit {self._whose}", draws, [users, since], state)
        return self._answers(keys, state, ask)["time"]

    @property
    def _whose(self) -> str:
        """Whose answers these are: the kind of the model and what it has learned. A file may hold
        those of several.
        """
        if self._name is None:
            kind, state = type(self._model), getattr(self._model, "state", None)
            learned = state() if callable(state) else vars(self._model)
            digest = hashlib.blake2b(f"{kind.__module__}:{kind.__qualname__}".encode())
            for name, value in sorted(learned.items()):
                if name != "level" and isinstance(value, np.ndarray | float | int | str | bool):
                    digest.update(name.encode() + np.asarray(value).tobytes())
            self._name = digest.hexdigest()
        return f"{self._name} {getattr(self._model, 'level', None)}"

    # -- the file ----------------------------------------------------------------------------------

    def _answers(
        self, keys: list[bytes], state: Arrays, ask: Callable[[np.ndarray, Arrays], Arrays]
    ) -> Arrays:
        """What the file says to these questions, after the model has been asked what it lacks;
        `state` becomes what the answers made of it.
        """
        store = self._opened()
        known = _known(store, keys)
        new = np.array([i for i, key in enumerate(keys) if key not in known], np.int64)
        if len(new):
            mine = {name: array[new] for name, array in state.items()}
            found = ask(new, mine)
            of_answer, answers = _packed(found, len(new))
            of_mind, minds = _packed(mine, len(new))
            layout = json.dumps([of_answer, of_mind])
            asked = [keys[i] for i in new.tolist()]
            rows = [(*row, layout) for row in zip(asked, answers, minds, strict=True)]
            with store:  # whoever was there first is right
                store.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows)
            known |= _known(store, asked)
        return _unpacked([known[key] for key in keys], state)

    def _opened(self) -> sqlite3.Connection:
        if self._store is None:
            self._store = sqlite3.connect(self._file, timeout=WAIT)
            self._store.execute("PRAGMA journal_mode=WAL")  # several processes may write
            self._store.execute("PRAGMA synchronous=NORMAL")
            with self._store:
                self._store.execute(
                    "CREATE TABLE IF NOT EXISTS answers"
                    " (question BLOB PRIMARY KEY, answer BLOB, mind BLOB, layout TEXT)"
                )
        return self._store


def _keys(what: str, draws: Draws, given: list[np.ndarray], state: Arrays) -> list[bytes]:
    """A question of each row: 16 bytes of all that its answer may depend on."""
    arrays = [draws.keys, *given, *(state[name] for name in sorted(state))]
    columns = [np.ascontiguousarray(x).reshape(len(draws), -1) for x in arrays]
    parts = [column.view(np.uint8).reshape(len(draws), -1) for column in columns if column.size]
    start = hashlib.blake2b(what.encode(), digest_size=16)

    def key(row: np.ndarray) -> bytes:
        digest = start.copy()
        digest.update(row.tobytes())
        return digest.digest()

    return [key(row) for row in np.concatenate(parts, axis=1)]


Layout = list[tuple[str, str, list[int]]]  # name, type and shape of a row of each array
Kept = tuple[bytes, bytes, str]  # the answer, the mind after it, the layouts of both


def _packed(arrays: Arrays, n: int) -> tuple[Layout, list[bytes]]:
    """The rows of the arrays as bytes."""
    layout = [(name, a.dtype.str, list(a.shape[1:])) for name, a in sorted(arrays.items())]
    parts = [
        np.ascontiguousarray(arrays[name]).reshape(n, -1).view(np.uint8) for name, _, _ in layout
    ]
    if not parts:
        return layout, [b""] * n
    return layout, [row.tobytes() for row in np.concatenate(parts, axis=1)]


def _unpacked(rows: list[Kept], state: Arrays) -> Arrays:
    """The answers of these rows; `state` becomes what they made of it."""
    found: dict[str, list[Any]] = {}
    for place, (_, _, layout) in enumerate(rows):
        found.setdefault(layout, []).append(place)
    answers: Arrays = {}
    for text, places in found.items():  # one, unless answers of another version are there
        of_answer, of_mind = json.loads(text)
        for name, array in _arrays([rows[i][0] for i in places], of_answer).items():
            answers.setdefault(name, np.zeros((len(rows), *array.shape[1:]), array.dtype))
            answers[name][places] = array
        for name, array in _arrays([rows[i][1] for i in places], of_mind).items():
            state[name][places] = array
    return answers


def _arrays(rows: list[bytes], layout: Layout) -> Arrays:
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    arrays, at = {}, 0
    for name, kind, shape in layout:
        size = np.dtype(kind).itemsize * int(np.prod(shape))
        part = np.ascontiguousarray(table[:, at : at + size])
        arrays[name] = part.view(kind).reshape(len(rows), *shape)
        at += size
    return arrays


def _known(store: sqlite3.Connection, keys: list[bytes]) -> "dict[bytes, Kept]":
    found: dict[bytes, Kept] = {}
    for begin in range(0, len(keys), 500):
        some = keys[begin : begin + 500]
        marks = ",".join("?" * len(some))
        query = f"SELECT question, answer, mind, layout FROM answers WHERE question IN ({marks})"
        found |= {key: tuple(kept) for key, *kept in store.execute(query, some)}
    return found
