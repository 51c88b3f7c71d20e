"""The units of work of a run: train a policy, serve a shard of users up to the next
synchronisation, retrain an arm. Files are their only memory, and a small JSON, written last, says
that one is done: whoever finds it there does nothing.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from policies.base import Policy
from policies.calls import PolicyFailure, calling, restore, state_of, train
from policies.common.files import (
    Listed,
    check_listed,
    listed,
    load_arrays,
    reading,
    save_arrays,
    save_json,
    save_text,
)
from policies.common.manifests import read_manifest
from policies.common.processes import machine, trim
from policies.draws import Draws, generator, key_of
from policies.exploring import SETTINGS as OF_ANY
from policies.exploring import UPDATES, without_arm
from policies.log import Impressions
from policies.registry import BUILT_IN, asks_for_truth, base_name, find, make
from policies.testing import PolicyError
from simulator.engine.histories import Histories, Ring
from simulator.engine.recorder import WARMUP, Part, Recorder, read_rows
from simulator.engine.world import Arm, Deployment, Tell, World
from simulator.experiment.inputs import (
    PolicyLog,
    Population,
    forget_log,
    log_checksum,
    read_log,
    read_population,
    rows_of,
)
from simulator.experiment.offline import offline_figures
from simulator.population.equal_rows import cut, fewest, shared, thinned
from simulator.population.sampling import MOST_ROWS
from simulator.settings import Experiment, from_dict
from simulator.users import state as minds
from simulator.users.choice_model import DAY, ChoiceModel

W = TypeVar("W", bound=Callable[..., Any])
AGAIN = "start the run again in another folder"
FROZEN, OUTSIDE = "frozen-", "outside"  # worlds whose rows others learn from
TOLD_EVERY = 1.0  # s between two notes of how far a unit is


@dataclass(frozen=True)
class Place:
    """Where units of a kind belong: some arms of a world.

    Attributes:
        run: the run directory. world: `warmup`, `split`, `global-ARM` or `twin-ARM`; `frozen-ARM`
            or `outside`, which are there for their rows alone. arms: that serve. whole: whether
            they are all arms of that world.
    """

    run: Path
    world: str
    arms: tuple[str, ...]
    whole: bool = True

    @property
    def name(self) -> str:
        """Of the folder of its checkpoints and models."""
        name = self.world if self.whole else f"{self.world}-{'-'.join(self.arms)}"
        return name.replace(":", ".")

    @property
    def rows_below(self) -> Path:
        """The folder that holds its impressions, below the run directory."""
        if self.hidden:
            return Path("sources") / self.world.replace(":", ".")
        if not self.world.startswith("global-"):
            return Path()
        return Path("truth_worlds") / self.arms[0].replace(":", ".")

    @property
    def hidden(self) -> bool:
        """Whether it is there for its rows alone."""
        return self.world.startswith(FROZEN) or self.world == OUTSIDE

    def checkpoint(self, number: int, shard: int) -> Path:
        return self.run / "checkpoint" / self.name / f"{number:03d}-{shard:04d}.json"

    def taste(self, number: int, shard: int) -> Path:
        return self.run / "taste" / self.name / f"{number:03d}-{shard:04d}.safetensors"

    def model(self, arm: str, number: int) -> Path:
        return self.run / "models" / self.name / f"{arm.replace(':', '.')}-round{number:02d}"


@dataclass(frozen=True)
class Segment:
    """A shard of the users of a place, from one synchronisation to the next.

    Attributes:
        number: of the segment, from 0. start, end: s. models: arm -> its file ("" = it has none).
        round: of these models. deployment: when the next ones take over, their round and files.
        after_warmup: whether the first segment goes on from the warm-up.
    """

    place: Place
    shard: int
    shards: int
    number: int
    start: float
    end: float
    models: dict[str, str]
    round: int
    deployment: tuple[float, int, dict[str, str]] | None
    after_warmup: bool

    @property
    def about(self) -> Path:
        return self.place.checkpoint(self.number, self.shard)


@dataclass(frozen=True)
class Source:
    """Rows to learn from.

    Attributes:
        bucket: whose. code: who showed them, for the policy: BY_LOG, BY_SELF, BY_OTHER. segments:
            JSON files of segments with the folder that their parts lie in. everybody: whether that
            world serves all users, and not those of the arm's bucket alone.
    """

    bucket: str
    code: int
    segments: tuple[tuple[Path, Path], ...]
    everybody: bool = False


@dataclass(frozen=True)
class Training:
    """An arm's policy, trained on the log (`number` 0) or on the rows since the last time.

    Attributes:
        cut: s, no row from then on is read. model: the file that it goes on from. sources: what it
            learns from, with an equal share from each where `measured` is given: whose pages bound
            how many of each user it learns from. log: rows from before the test. thinned: no more
            clicks of a user than the last of `measured` has.
        beside: other runs, which may have learned the same from the same log.
    """

    place: Place
    arm: str
    number: int
    cut: float
    model: str
    sources: tuple[Source, ...]
    measured: tuple[Source, ...] = ()
    log: tuple[Source, ...] = ()
    thinned: bool = False
    beside: tuple[Path, ...] = ()

    @property
    def about(self) -> Path:
        model = self.place.model(self.arm, self.number)
        return model.with_name(f"{model.name}.json")  # an arm's name may hold dots


def experiment_of(run: Path) -> Experiment:
    return from_dict(read_manifest(run / "manifest.json", AGAIN)["experiment"])


LEFT_BY_TRAINING = (
    *("files", "rows", "machine", "seconds", "trained_as", "key"),
    *("validation_ndcg10", "offline", "says"),
)
LEFT_BY_SERVING = ("files", "state", "pages", "end", "parts", "machine", "seconds")


def done(about: Path, run: Path, needed: tuple[str, ...]) -> dict[str, Any] | None:
    """What a unit that has been done left, at least what is `needed` of it; None before.

    Raises:
        InputError: its files are no longer what they were.
    """
    if not about.exists():
        return None
    with reading(about, AGAIN):
        stored: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
        check_listed(run, {name: stored[name] for name in needed}["files"])
    return stored


def one_blas_thread(work: W) -> W:
    """The same, with one thread of numpy's BLAS whoever does it: sums depend on how many there
    are. torch has the threads that the experiment says.
    """

    @wraps(work)
    def limited(*arguments: Any, **named: Any) -> Any:
        with threadpool_limits(1, "blas"):
            return work(*arguments, **named)

    return cast(W, limited)


# -- training --------------------------------------------------------------------------------------


@one_blas_thread
def fit(unit: Training) -> dict[str, Any]:
    """Trains a policy on the log."""
    run = unit.place.run
    if (stored := done(unit.about, run, LEFT_BY_TRAINING)) is not None:
        return stored
    experiment, given = begun(run), read_log(run)
    if (alike := _trained_alike(unit, experiment)) is not None:
        return _as_trained(unit, experiment, *alike)
    try:
        return _learned(unit, experiment, given, "fit", given.log, None)
    finally:
        if len(given.log) > MOST_ROWS:
            # What has been looked at stays in memory for as long as it is mapped.
            forget_log()
            del given
            trim()


@one_blas_thread
def retrain(unit: Training) -> dict[str, Any]:
    """A copy of an arm's policy learns from the rows since the last time, none of them after the
    cut.
    """
    run, arm = unit.place.run, unit.arm
    if (stored := done(unit.about, run, LEFT_BY_TRAINING)) is not None:
        return stored
    experiment, given = begun(run), read_log(run)
    since = (unit.number - 1) * experiment.round_seconds if unit.number > 1 else -np.inf

    def rows_of_source(source: Source) -> Impressions:
        parts = [
            (folder / "impressions", part)
            for about, folder in source.segments
            for part in parts_of(_read(about))
        ]
        rows = read_rows(parts, {source.bucket: source.code}, since, unit.cut)
        if unit.place.world != "split" or not source.everybody:
            return rows
        everybody = read_population(run)
        mine = everybody.ids[everybody.bucket == experiment.policies.index(arm)]
        return rows.rows(np.isin(rows.user, mine))

    taught = [rows_of_source(source) for source in unit.sources]
    if unit.measured:
        measured = [rows_of_source(source) for source in unit.measured]
        n_users = 1 + max(int(rows.user.max(initial=0)) for rows in (*taught, *measured))
        pages = fewest(measured, n_users)
        taught = shared(taught, pages, experiment.seed)
        if unit.thinned:
            bound = cut(measured[-1], pages, experiment.seed)
            clicks = np.bincount(bound.user[bound.clicked], minlength=n_users)
            taught = [thinned(rows, clicks, experiment.seed) for rows in taught]
    rows = Impressions.concat([*taught, *map(rows_of_source, unit.log)]).sorted()
    state = load_arrays(Path(unit.model)) if unit.model else {}
    return _learned(unit, experiment, given, "update", rows, state)


def _learned(
    unit: Training,
    experiment: Experiment,
    given: PolicyLog,
    call: str,
    rows: Any,
    state: dict[str, np.ndarray] | None,
) -> dict[str, Any]:
    """Trains and stores."""
    arm, began = unit.arm, time.monotonic()
    settings = experiment.settings_for(arm)
    policy = make(base_name(arm), settings)
    if state is not None:
        restore(arm, policy, state)
    rng = generator("train", experiment.seed, *_kind(experiment, arm), unit.number)
    try:
        train(arm, call, policy, rows, given.catalogue, rng)
    except BaseException:
        forget_log()  # the policy may have written into it
        raise
    seconds, offline = round(time.monotonic() - began, 2), None
    says = str(getattr(policy, "says_", ""))
    if call == "fit" and not asks_for_truth(arm):
        try:
            offline = offline_figures(
                arm, policy, settings, rows, given.catalogue, experiment.slate_size, experiment.seed
            )
        except PolicyFailure as failure:  # what a test does not ask of it ends no test
            says = f"{says} No offline figures: {failure}".strip()
    about = {
        "files": _stored(unit, policy),
        "rows": len(rows),
        "clicks": int(rows.clicked.sum()),
        "machine": machine(),
        "seconds": seconds,
        "trained_as": arm,
        "key": _key(experiment, unit) if call == "fit" else "",
        "validation_ndcg10": [round(x, 4) for x in getattr(policy, "scores_", [])],
        "offline": offline,
        "says": says,
    }
    save_json(unit.about, about)
    return about


def _stored(unit: Training, policy: Policy) -> Listed:
    """Writes what a policy has learned."""
    learned, path = state_of(unit.arm, policy), unit.about.with_suffix(".safetensors")
    if not learned and asks_for_truth(unit.arm):  # the oracle has nothing to store
        return {}
    save_arrays(path, learned)
    return listed(unit.place.run, path)


def _kind(experiment: Experiment, arm: str) -> tuple[str, list[tuple[str, Any]]]:
    """What training depends on: an arm that explores, is frozen or learns otherwise from feedback
    begins with the very weights of one that does not. What `fit` of a stranger's policy reads is
    not known, even where it inherits from one of ours.
    """
    name, settings = base_name(arm), experiment.settings_for(arm)
    ours = getattr(find(name), "OF_UPDATES", ()) if name in BUILT_IN else ()
    later = {*OF_ANY, *ours}
    return name, sorted((k, value) for k, value in settings.items() if k not in later)


def _key(experiment: Experiment, unit: Training) -> str:
    """Of all that training on the log depends on, and what is said of it."""
    name, settings = _kind(experiment, unit.arm)
    own = "" if name in BUILT_IN else unit.place.run  # code of a user may change from run to run
    parts = (experiment.seed, experiment.threads, experiment.slate_size, machine(), own)
    text = repr((name, settings, *parts, log_checksum(unit.place.run)))
    return hashlib.sha256(text.encode()).hexdigest()


def _trained_alike(unit: Training, experiment: Experiment) -> tuple[Path, Path] | None:
    """A run and what one of its arms left that has learned from the log what this one would."""
    if asks_for_truth(unit.arm):
        return None
    key, folder = _key(experiment, unit), unit.about.parent.relative_to(unit.place.run)
    for run in (unit.place.run, *unit.beside):
        for about in sorted((run / folder).glob("*.json")):
            if about != unit.about and _read(about).get("key") == key:
                return run, about
    return None


def _as_trained(unit: Training, experiment: Experiment, run: Path, there: Path) -> dict[str, Any]:
    """Stores what another arm has learned as this one's, too."""
    began = time.monotonic()
    about = done(there, run, LEFT_BY_TRAINING)
    assert about is not None
    policy = make(base_name(unit.arm), experiment.settings_for(unit.arm))
    state = load_arrays(there.with_suffix(".safetensors"))
    restore(unit.arm, without_arm(policy), {k: v for k, v in state.items() if k != UPDATES})
    about |= {"files": _stored(unit, policy), "seconds": round(time.monotonic() - began, 2)}
    save_json(unit.about, about)
    return about


def begun(run: Path) -> Experiment:
    """The settings, with the threads that sums depend on."""
    experiment = experiment_of(run)
    torch.set_num_threads(experiment.threads)
    return experiment


# -- serving ---------------------------------------------------------------------------------------


@one_blas_thread
def serve(unit: Segment, tell: Tell | None = None) -> dict[str, Any]:
    """Serves a shard of users from `start` to `end`.

    Args:
        tell: called on the way; None = a note beside the checkpoint.
    """
    run = unit.place.run
    if (stored := done(unit.about, run, LEFT_BY_SERVING)) is not None:
        return stored
    began = time.monotonic()
    experiment, given, everybody = begun(run), read_log(run), read_population(run)
    rows = _mine(unit, experiment, everybody)
    world = _world(unit, experiment, given, everybody, rows)
    world.tell = tell if tell is not None else _Note(unit.about.with_suffix(".now"))
    recorder = world.sink
    assert isinstance(recorder, Recorder)
    recorder.forget([arm.bucket for arm in world.arms])
    deployment = _deployment(unit, experiment)
    policies = [(arm.name, arm.policy) for arm in world.arms]
    policies += list(deployment.policies.items()) if deployment is not None else []
    before = [_sum(arm, policy) for arm, policy in policies]
    world.run(unit.start, unit.end, deployment)
    for (arm, policy), known in zip(policies, before, strict=True):
        _refuse_learning(arm, policy, known)
    state = unit.about.with_suffix(".safetensors")
    save_arrays(state, _memory(world))
    files = {
        (unit.place.rows_below / name).as_posix(): entry for name, entry in recorder.files.items()
    }
    files |= _store_taste(unit, experiment, world)
    about = {
        "files": files,
        "state": listed(run, state),
        "pages": world.pages_served,
        "end": unit.end,
        "parts": [asdict(part) for part in recorder.parts],
        "machine": machine(),
        "seconds": round(time.monotonic() - began, 2),
    }
    save_json(unit.about, about)
    unit.about.with_suffix(".now").unlink(missing_ok=True)
    return about


def _store_taste(unit: Segment, experiment: Experiment, world: World) -> Listed:
    """Writes how far the segment's users have moved by its end, (n, C) logits; nothing where taste
    stays, or nobody wants the truth.
    """
    wanted, users = experiment.record_truth and not unit.place.hidden, world.model
    if not wanted or not isinstance(world.state, minds.UserState) or not world.state.drifted.size:
        return {}
    assert isinstance(users, ChoiceModel)
    at = np.full(len(world.ids), unit.end)
    moved = users.moved(world.state, np.arange(len(world.ids)), at)
    path = unit.place.taste(unit.number, unit.shard)
    save_arrays(path, {"user": world.ids, "moved": moved})
    return listed(unit.place.run, path)


def parts_of(stored: dict[str, Any]) -> list[Part]:
    return [Part(**part) for part in stored["parts"]]


def _read(about: Path) -> dict[str, Any]:
    with reading(about, AGAIN):
        stored: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
        return stored


def _mine(unit: Segment, experiment: Experiment, everybody: Population) -> np.ndarray:
    """Places in the population of the users of this unit."""
    shard = np.arange(unit.shard, len(everybody.ids), unit.shards)
    if unit.place.world != "split":
        return shard
    codes = [experiment.policies.index(arm) for arm in unit.place.arms]
    return shard[np.isin(everybody.bucket[shard], codes)]


def _world(
    unit: Segment,
    experiment: Experiment,
    given: PolicyLog,
    everybody: Population,
    rows: np.ndarray,
) -> World:
    """These users with their state, histories and policies, as the last segment left them."""
    place, ids = unit.place, everybody.ids[rows]
    people = everybody.people.of_users(rows)
    arms = [
        arm_of(experiment, arm, policy_of(experiment, place, arm, unit.models[arm]), unit.round)
        for arm in place.arms
    ]
    if place.world == "split":
        bucket = everybody.bucket[rows]
    else:
        bucket = np.full(len(ids), arms[0].code, np.int16)
    remembered = _remembered(unit, experiment, given, everybody, rows)
    below = place.run / place.rows_below
    off_policy = experiment.off_policy and place.world == "split"
    return World(
        name=place.world,
        experiment=experiment,
        model=people,
        catalogue=given.catalogue,
        ids=ids,
        bucket=bucket,
        arms=arms,
        sink=Recorder(
            below / "impressions",
            below / "truth" if experiment.record_truth and not place.hidden else None,
            below / "off_policy" if off_policy else None,
            f"{unit.number:03d}-{unit.shard:04d}",
        ),
        **remembered,
    )


def arm_of(experiment: Experiment, name: str, policy: Policy, round_: int) -> Arm:
    if name == WARMUP:
        return Arm(WARMUP, -1, policy)
    arms = experiment.policies
    code = arms.index(name) if name in arms else len(arms)  # who serves for the rows alone
    return Arm(name, code, policy, round_, experiment.repeats(name))


def policy_of(experiment: Experiment, place: Place, arm: str, file: str) -> Policy:
    """A policy of its own, with the weights of a file."""
    name = experiment.warmup_policy if arm == WARMUP else arm
    policy = make(base_name(name), experiment.settings_for(name))
    restore(name, policy, load_arrays(Path(file)) if file else {})
    return policy


def _deployment(unit: Segment, experiment: Experiment) -> Deployment | None:
    if unit.deployment is None:
        return None
    at, number, files = unit.deployment
    policies = {arm: policy_of(experiment, unit.place, arm, files[arm]) for arm in unit.place.arms}
    return Deployment(at, number, policies)


def _remembered(
    unit: Segment,
    experiment: Experiment,
    given: PolicyLog,
    everybody: Population,
    rows: np.ndarray,
) -> dict[str, Any]:
    """State, histories, next visits and sessions of these users."""
    if unit.number:
        return _from_file(unit.place.checkpoint(unit.number - 1, unit.shard), unit, None)
    if not unit.after_warmup:
        return at_first(experiment, given, everybody, rows)
    # Users of the warm-up's shard, of whom this place may have a part.
    warm = Place(unit.place.run, WARMUP, (WARMUP,)).checkpoint(0, unit.shard)
    return _from_file(warm, unit, rows // unit.shards)


def at_first(
    experiment: Experiment, given: PolicyLog, everybody: Population, rows: np.ndarray
) -> dict[str, Any]:
    """The population at the start of the warm-up: rested, with the log as its history."""
    start, n = -experiment.warmup_days * DAY, len(rows)
    ids, arrival = everybody.ids[rows], everybody.arrival[rows]
    people = everybody.people.of_users(rows)
    lengths = {"impressions": 0, "clicks": 0}
    for arm in (*experiment.policies, experiment.warmup_policy):
        policy = make(base_name(arm), experiment.settings_for(arm))
        kind = policy.history_of
        lengths[kind] = max(lengths[kind], int(policy.history_length))
    histories = Histories.of(n, lengths["impressions"], lengths["clicks"], experiment.repeat_after)
    place = np.full(given.n_users, -1)
    known = ids < given.n_users
    place[ids[known]] = np.flatnonzero(known)
    taking_part = np.zeros(max(given.n_users, 1 + int(given.log.user.max(initial=0))), bool)
    taking_part[ids[known]] = True
    histories.load(rows_of(given.log, taking_part[given.log.user]), place)
    first = Draws(key_of("first visit", experiment.seed), ids, np.zeros_like(ids))
    visits = people.first_visit(np.arange(n), start, first)
    return {
        "state": people.start(n, start),
        "histories": histories,
        "due": np.where(np.isfinite(arrival), arrival, visits),
        "sessions": np.zeros(n, np.int32),
    }


def _memory(world: World) -> dict[str, np.ndarray]:
    """Everything that these users need to go on, at a moment at which nobody is in the middle of a
    visit.
    """
    arrays = {f"state.{name}": array for name, array in minds.arrays_of(world.state).items()}
    for kind in ("impressions", "clicks"):
        ring = getattr(world.histories, kind)
        arrays |= {f"{kind}.{name}": getattr(ring, name) for name in Ring.__slots__}
    return arrays | {
        "seen": world.histories.seen,
        "seen_count": world.histories.seen_count,
        "due": world.due,
        "sessions": world.sessions,
    }


def _from_file(about: Path, unit: Segment, rows: np.ndarray | None) -> dict[str, Any]:
    """What `_memory` stored, of some of the users or of all."""
    check_listed(unit.place.run, _read(about)["state"])
    arrays = load_arrays(about.with_suffix(".safetensors"))
    if rows is not None:
        arrays = {name: array[rows] for name, array in arrays.items()}
    rings = {
        kind: Ring(**{name: arrays[f"{kind}.{name}"] for name in Ring.__slots__})
        for kind in ("impressions", "clicks")
    }
    return {
        "state": minds.state_of(
            {name[6:]: array for name, array in arrays.items() if name.startswith("state.")}
        ),
        "histories": Histories(**rings, seen=arrays["seen"], seen_count=arrays["seen_count"]),
        "due": arrays["due"],
        "sessions": arrays["sessions"],
    }


def _sum(arm: str, policy: Policy) -> int:
    """Checksum of what a policy has learned."""
    total = 0
    for name, array in sorted(state_of(arm, policy).items()):
        total = zlib.crc32(name.encode() + np.ascontiguousarray(array).tobytes(), total)
    return total


def _refuse_learning(arm: str, policy: Policy, before: int) -> None:
    """Raises PolicyFailure where serving changed what a policy has learned: it would depend on who
    else was served by the same process.
    """
    after = _sum(arm, policy)
    with calling(arm, "recommend"):
        if after != before:
            raise PolicyError(
                "it changed what `state` returns while it served; learn in `update` alone"
            )


class _Note:
    """How far a unit is, in a file that whoever waits may read."""

    def __init__(self, path: Path):
        self.path, self.told = path, 0.0

    def __call__(self, now: float, pages: int) -> None:
        if time.monotonic() - self.told < TOLD_EVERY:
            return
        self.told = time.monotonic()
        save_text(self.path, f"{now} {pages}")
