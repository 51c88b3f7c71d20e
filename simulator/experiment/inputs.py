"""What the units of a run need to know, as files below `inputs/`: who does a unit reads them and
nothing else, neither the log nor the fit.
"""

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.common.files import (
    Listed,
    check_listed,
    let_go,
    listed,
    load_arrays,
    mapped_arrays,
    reading,
    save_arrays,
    save_json,
)
from policies.log import Dataset, Impressions
from simulator.users.choice_model import ChoiceModel
from simulator.users.storage import USERS_FILES, save_users, stored_users
from simulator.users.strangers import Strangers

LOG, POPULATION, PEOPLE = "log.safetensors", "population.safetensors", "people"
CATALOGUE = ("category", "duration", "born", "withdrawn")


@dataclass(frozen=True)
class PolicyLog:
    """What policies learn from before the test.

    Attributes:
        n_users: of the log.
    """

    log: Impressions
    catalogue: Catalogue
    n_users: int


@dataclass(frozen=True)
class Population:
    """Who takes part.

    Attributes:
        people: the model of these users. ids: (n,) int32. arrival: (n,) s, as of `population`.
        bucket: (n,) int16 place of each user's arm in a split.
    """

    people: ChoiceModel | Strangers
    ids: np.ndarray
    arrival: np.ndarray
    bucket: np.ndarray


def write_log(run: Path, data: Dataset) -> None:
    """The log as policies learn from it, and the items."""
    log, catalogue = data.for_policies(), data.catalogue
    arrays = {f"log.{f.name}": getattr(log, f.name) for f in fields(Impressions)}
    arrays |= {f"catalogue.{name}": getattr(catalogue, name) for name in CATALOGUE}
    arrays |= {
        "catalogue.ids": _characters(catalogue.ids),
        "catalogue.categories": _characters(np.array(catalogue.categories, dtype=str)),
        "n_users": np.array([data.n_users]),
    }
    path = run / "inputs" / LOG
    save_arrays(path, arrays)
    _note(path, listed(path.parent, path))


def write_population(
    run: Path,
    people: ChoiceModel | Strangers,
    ids: np.ndarray,
    arrival: np.ndarray,
    bucket: np.ndarray,
) -> None:
    """Who takes part."""
    folder = run / "inputs"
    save_users(folder / PEOPLE, people)
    save_arrays(folder / POPULATION, {"ids": ids, "arrival": arrival, "bucket": bucket})
    files = listed(folder, folder / POPULATION)
    for name in USERS_FILES:
        files |= listed(folder, folder / PEOPLE / name)
    _note(folder / POPULATION, files)


def _note(path: Path, files: Listed) -> None:
    """What was written, for those who read it: a bit that flipped since shall not go unnoticed."""
    save_json(path.with_suffix(".json"), files)


def _check(path: Path) -> None:
    about = path.with_suffix(".json")
    with reading(about, "start the run again in another folder"):
        check_listed(path.parent, json.loads(about.read_text(encoding="utf-8")))


def read_log(run: Path) -> PolicyLog:
    path = run / "inputs" / LOG
    return _read_log(path, _written(path))


def log_checksum(run: Path) -> str:
    """Of the file of the log."""
    about = (run / "inputs" / LOG).with_suffix(".json")
    return str(json.loads(about.read_text(encoding="utf-8"))[LOG]["sha256"])


def rows_of(log: Impressions, which: np.ndarray) -> Impressions:
    """`log.rows(which)` of a log in a file: of a large one no more than a column is in memory."""
    columns = {}
    for f in fields(Impressions):
        column = getattr(log, f.name)
        columns[f.name] = column[which]
        let_go(column)
    return Impressions(**columns)


def forget_log() -> None:
    """Whoever asks for a log next gets it from the file."""
    _read_log.cache_clear()


def read_population(run: Path) -> Population:
    path = run / "inputs" / POPULATION
    return _read_population(path, _written(path))


def _written(path: Path) -> int:
    """When: another run may have had the same name."""
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=1)
def _read_log(path: Path, written: int) -> PolicyLog:
    _check(path)
    arrays = mapped_arrays(path)  # as large as the log, and read by every process
    catalogue = Catalogue(
        ids=_words(arrays["catalogue.ids"]),
        categories=tuple(_words(arrays["catalogue.categories"]).tolist()),
        **{name: arrays[f"catalogue.{name}"] for name in CATALOGUE},
    )
    lacking = [f.name for f in fields(Impressions) if f"log.{f.name}" not in arrays]
    if lacking:
        raise InputError(
            f"'{path}' was written by another version (it lacks {', '.join(lacking)}); start the"
            " run again in another folder"
        )
    log = Impressions(**{f.name: arrays[f"log.{f.name}"] for f in fields(Impressions)})
    return PolicyLog(log, catalogue, int(arrays["n_users"][0]))


@lru_cache(maxsize=1)
def _read_population(path: Path, written: int) -> Population:
    _check(path)
    return Population(stored_users(path.parent / PEOPLE), **load_arrays(path))


def _characters(words: np.ndarray) -> np.ndarray:
    """(n, longest) uint32: words as arrays, since files of arrays know no words."""
    return np.ascontiguousarray(words).view(np.uint32).reshape(len(words), -1)


def _words(characters: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(characters).view(f"<U{characters.shape[1]}").ravel()
