"""Do models learn the same from simulated answers as from real ones? The same policies, trained on
a log and on the log with the answers of the users in it, then asked for what comes next.

A simulator before which another model wins than before people misleads whoever chooses by it. Both
worlds have the same users, times and, where the log has skips, slates; what differs is the answers
alone (without skips: the choices).
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from policies.calls import train
from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.common.executor import (
    Chain,
    Executor,
    Unit,
    Workers,
    drive,
    once,
    usual_workers,
)
from policies.common.files import load_arrays, save_arrays
from policies.common.threads import with_threads
from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.neural.next_items import best, gains, picked
from policies.neural.sequences import Sequences
from policies.registry import asks_for_truth, base_name, find, make, settings_of

REAL, SIMULATED = "real", "simulated"
WORLDS = (REAL, SIMULATED)
CUT = 10
MOST_TARGETS, FEWEST_TARGETS = 10_000, 100
SURE = 1.96


@dataclass(frozen=True)
class World:
    """What policies learn from, and what comes next.

    Attributes:
        log: until the cut. user, item: (n,) the first choice of each user after it.
    """

    log: Impressions
    user: np.ndarray
    item: np.ndarray

    @staticmethod
    def of(log: Impressions, late: Impressions, n_items: int) -> "World":
        """Targets are items that the user had not chosen before, of users who had chosen any."""
        known = log.rows(log.clicked)
        pair = known.user * np.int64(n_items + 1) + known.item
        after = late.rows(late.clicked).by_user()
        new = ~np.isin(after.user * np.int64(n_items + 1) + after.item, pair)
        after = after.rows(new & np.isin(after.user, known.user))
        user, first = np.unique(after.user, return_index=True)
        return World(log, user, after.item[first])


@dataclass(frozen=True)
class Taught:
    """NDCG@10 of one policy: by the world that it learned from and the world that it was tested
    in, with the standard error over users; how many of them were tested at least.
    """

    policy: str
    ndcg: dict[str, tuple[float, float]]
    targets: int

    def within(self, world: str) -> tuple[float, float]:
        """Where it learned from the world that it is tested in."""
        return self.ndcg[f"{world} > {world}"]

    @property
    def ratio(self) -> float:
        """Simulated over real; nan where nothing was learned from the log."""
        real, _ = self.within(REAL)
        return self.within(SIMULATED)[0] / real if real > 0 else float("nan")

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """95 %, by the delta method on the logarithm."""
        (real, one), (simulated, other) = (self.within(world) for world in WORLDS)
        if real <= 0:
            return 0.0, float("inf")
        if simulated <= 0:  # no hit of so many: at most three in as many
            least = real - SURE * one
            return 0.0, 3 / self.targets / least if least > 0 else float("inf")
        by = float(np.exp(min(SURE * float(np.hypot(one / real, other / simulated)), 50.0)))
        return self.ratio / by, self.ratio * by


@dataclass(frozen=True)
class Pair:
    """Two policies: by how much the first has more NDCG@10, with the standard error over users."""

    first: str
    second: str
    real: tuple[float, float]
    simulated: tuple[float, float]

    @staticmethod
    def told(difference: tuple[float, float]) -> int:
        """Which is better: 1 the first, -1 the second, 0 = cannot be told."""
        value, error = difference
        return int(np.sign(value)) if abs(value) > SURE * error else 0


@dataclass(frozen=True)
class Learning:
    """What came out.

    Attributes:
        targets: users tested, by world. seeds: trainings of each policy in each world.
    """

    taught: list[Taught]
    pairs: list[Pair]
    targets: dict[str, int]
    seeds: int

    def order(self, world: str) -> list[str]:
        """The policies, best first."""
        ranked = sorted(self.taught, key=lambda t: -t.within(world)[0])
        return [t.policy for t in ranked]


def check_learners(names: tuple[str, ...]) -> None:
    """Raises InputError where a name is no policy that learns."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"--learners names '{twice}' twice; --seeds trains each several times")
    for name in names:
        find(base_name(name))
        if asks_for_truth(name):
            raise InputError(f"--learners '{name}' asks for the truth: a log has none to give")


def learning(
    data: Dataset,
    real: tuple[Impressions, Impressions],
    again: Callable[[int], tuple[Impressions, Impressions]],
    names: tuple[str, ...],
    seeds: int,
    seed: int,
    threads: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Learning | str:
    """Trains and tests every policy in both worlds; or says why nothing can be told.

    Args:
        data: for its items and what users chose before the log. real: the rows that policies learn
            from, and those after them. again: a seed -> the same rows with simulated answers.
            say: told what is done.
    """
    n_items = data.catalogue.size
    with tempfile.TemporaryDirectory() as folder:
        units, few = [], np.inf
        _write_items(Path(folder), data.catalogue)
        for turn in range(seeds):
            for world, (log, late) in zip(WORLDS, (real, again(seed + turn)), strict=True):
                known = Impressions.concat([data.history, log]).sorted()
                made = World.of(known, late, n_items)
                few = min(few, len(made.user))
                _write(Path(folder) / f"{world}-{turn}.safetensors", made, seed)
            for world, name in product(WORLDS, names):
                said = f"{name} learns from {world} answers"
                units.append(Unit(said, learn, (Path(folder), world, name, turn, seed, threads)))
        if few < FEWEST_TARGETS:
            return f"{int(few)} users have a next choice to test, fewer than {FEWEST_TARGETS}"
        with Workers(usual_workers(threads)).executor() as by:
            done = _told(by, units, say)
    keys = product(range(seeds), WORLDS, names)
    tested = {(w, name, turn): d for (turn, w, name), d in zip(keys, done, strict=True)}
    return _summed_up(tested, names, seeds)


def _told(by: Executor, units: list[Unit], say: Callable[[str], None]) -> list[Any]:
    """Results of these units, each told when it is there."""
    results: dict[int, Any] = {}

    def chain(place: int) -> Chain:
        (results[place],) = yield [units[place]]
        say(f"{units[place].name}: done ({len(results)} of {len(units)})")

    drive(by, once([chain(place) for place in range(len(units))]))
    return [results[place] for place in range(len(units))]


def _write_items(folder: Path, catalogue: Catalogue) -> None:
    save_arrays(
        folder / "items.safetensors",
        {"category": catalogue.category, "duration": catalogue.duration},
    )


def _write(path: Path, world: World, seed: int) -> None:
    """A world as a file, with MOST_TARGETS of its targets."""
    some = generator("targets", seed).permutation(len(world.user))[:MOST_TARGETS]
    some.sort()
    arrays = {f.name: getattr(world.log, f.name) for f in fields(Impressions)}
    save_arrays(path, {**arrays, "of.user": world.user[some], "of.item": world.item[some]})


def _read(path: Path) -> World:
    arrays = load_arrays(path)
    log = Impressions(**{f.name: arrays[f.name] for f in fields(Impressions)})
    return World(log, arrays["of.user"], arrays["of.item"])


def learn(
    folder: Path, world: str, name: str, turn: int, seed: int, threads: int
) -> dict[str, tuple[list[int], list[float]]]:
    """Trains a policy in a world; users and NDCG@10 in both worlds."""
    items = load_arrays(folder / "items.safetensors")
    ids = np.arange(1, len(items["category"])).astype(str)
    kinds = items["category"][1:].astype(str)
    catalogue = Catalogue.of(ids, np.where(kinds == "0", "", kinds), items["duration"][1:])
    # The next item is ranked by what is clicked next: answers would take time for nothing.
    kind = find(base_name(name))
    policy = make(base_name(name), {"answers": False} if "answers" in settings_of(kind) else {})
    given = _read(folder / f"{world}-{turn}.safetensors").log

    def work() -> dict[str, tuple[list[int], list[float]]]:
        rng = generator("learn", seed, turn, name)
        train(name, "fit", policy, given, catalogue, rng)
        found = {}
        for other in WORLDS:
            test = _read(folder / f"{other}-{turn}.safetensors")
            clicks = Sequences.of(test.log)
            at = np.searchsorted(clicks.users, test.user)
            history = Sequences(test.user, *picked(clicks, at))
            slates = best(policy, catalogue.size, test.user, history, CUT)
            hit = slates == test.item[:, None]
            ranks = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0)
            found[other] = test.user.tolist(), gains(ranks, CUT).tolist()
        return found

    return with_threads(threads, work)


Tested = dict[tuple[str, str, int], dict[str, tuple[list[int], list[float]]]]


def _summed_up(tested: Tested, names: tuple[str, ...], seeds: int) -> Learning:
    """Of all trainings: means over users, of whom each is one observation."""
    turns = range(seeds)
    user = {w: np.concatenate([tested[w, names[0], t][w][0] for t in turns]) for w in WORLDS}

    def gained(learned: str, test: str, name: str) -> np.ndarray:
        return np.concatenate([tested[learned, name, t][test][1] for t in turns])

    turn = {
        w: np.repeat(list(turns), [len(tested[w, names[0], t][w][0]) for t in turns])
        for w in WORLDS
    }
    targets = {w: len(np.unique(user[w])) for w in WORLDS}
    taught = [
        Taught(
            name,
            {
                f"{one} > {other}": _mean(user[other], turn[other], gained(one, other, name))
                for one, other in product(WORLDS, WORLDS)
            },
            min(targets.values()),
        )
        for name in names
    ]
    pairs = [
        Pair(
            one,
            other,
            *(_mean(user[w], turn[w], gained(w, w, one) - gained(w, w, other)) for w in WORLDS),
        )
        for one, other in combinations(names, 2)
    ]
    return Learning(taught, pairs, targets, seeds)


def _mean(user: np.ndarray, turn: np.ndarray, value: np.ndarray) -> tuple[float, float]:
    """Mean over users, and its standard error, over users and, of several trainings, over these; a
    user who was tested twice is one.
    """
    _, row = np.unique(user, return_inverse=True)
    each = np.bincount(row, value) / np.bincount(row)
    error = each.std(ddof=1) / len(each) ** 0.5 if len(each) > 1 else float("inf")
    of_turn = np.bincount(turn, value) / np.bincount(turn)
    if len(of_turn) > 1:
        error = np.hypot(error, of_turn.std(ddof=1) / len(of_turn) ** 0.5)
    return float(each.mean()), float(error)
