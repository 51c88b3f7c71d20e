"""What waits for what: the units of a run as chains, one for every part of it that can go on alone.

A chain serves its shards of users up to a synchronisation, then does what all of them have to be
there for: it retrains, or lets somebody look. Arms that learn from their own rows alone wait for
nobody else's.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from policies.base import BY_LOG, BY_SELF
from policies.common.executor import Chain, Unit
from policies.common.files import Listed
from policies.registry import base_name
from simulator.engine.recorder import WARMUP
from simulator.experiment.regimes import hidden_places, measured_by, taught_by, waits_for
from simulator.experiment.units import Place, Segment, Source, Training, fit, retrain, serve
from simulator.settings import Experiment
from simulator.users.choice_model import DAY


class Watcher(Protocol):
    """Who is told how far it is: times in s."""

    def say(self, text: str) -> None: ...

    def expect(self, place: Place, start: float, end: float, shards: int) -> None: ...

    def page(self, place: Place, shard: int, now: float, pages: int) -> None: ...

    def ended(self, place: Place, shard: int, end: float, pages: int) -> None: ...


@dataclass
class Plan:
    """A run to be done.

    Attributes:
        shards: in how many parts users are served. finished: called when a stage is done, with its
            name, its files and what its units say. here: whether units are done in this process,
            and can tell the watcher on their way.
        log_there, users_there: whether the units' inputs are written. models: arm -> file of what
            it learned from the log. beside: other runs, which may have learned the same.
    """

    run: Path
    experiment: Experiment
    shards: int
    finished: Callable[[str, Listed, list[dict[str, Any]]], None]
    watcher: Watcher
    here: bool = False
    log_there: bool = False
    users_there: bool = False
    models: dict[str, str] = field(default_factory=dict)
    beside: tuple[Path, ...] = ()

    def segments(
        self, place: Place, of: Callable[[int], Segment]
    ) -> Generator[list[Unit], list[Any], list[dict[str, Any]]]:
        """A segment of every shard."""
        units = []
        for shard in range(self.shards):
            tell = partial(self.watcher.page, place, shard) if self.here else None
            name = f"{place.name}: shard {shard + 1} of {self.shards}"
            units.append(Unit(name, serve, (of(shard), tell)))
        done = yield units
        for shard, about in enumerate(done):
            self.watcher.ended(place, shard, of(shard).end, about["pages"])
        return done


def chains_of_run(e: Experiment) -> int:
    """How many parts of it go on side by side, however many shards there are."""
    _, split, truth = places(Path(), e)
    hidden = hidden_places(e, [*split, *truth])
    return max(len(hidden), len(split) if e.stop_early else len(split) + len(truth))


def places(run: Path, e: Experiment) -> tuple[Place | None, list[Place], list[Place]]:
    """The warm-up, the parts of the test that go on alone, and the worlds of the truth."""
    warm = Place(run, WARMUP, (WARMUP,))
    if e.design == "twin":
        return warm, [Place(run, f"twin-{arm}", (arm,)) for arm in e.policies], []
    truth = [Place(run, f"global-{arm}", (arm,)) for arm in e.contenders] if e.truth else []
    shared = any(e.learns_from(arm) == "all" for arm in e.policies)
    if shared or e.stop_early or e.off_policy or len(e.policies) == 1:
        return warm, [Place(run, "split", e.policies)], truth
    return warm, [Place(run, "split", (arm,), whole=False) for arm in e.policies], truth


class Schedule:
    """What of a run may begin now.

    Args:
        look: of a test that may stop early, as for `serving`; None = it runs to its end.
        stopped: how many days it took, once it has ended.
    """

    def __init__(
        self, plan: Plan, look: Callable[[int], bool] | None, stopped: Callable[[], float]
    ):
        self.plan, self.look, self.stopped = plan, look, stopped
        self.trained: dict[str, tuple[str, ...]] | None = by_training(plan.experiment)
        self.warm, self.split, self.truth = places(plan.run, plan.experiment)
        self.hidden = hidden_places(plan.experiment, [*self.split, *self.truth])
        self.done: set[Place] = set()
        self.begun = self.served = False

    def source(self) -> list[Chain]:
        """Chains that may begin now, the longest first; each once."""
        plan, chains = self.plan, []
        if plan.log_there and self.trained is not None:
            chains += [training(plan, arm, arms) for arm, arms in self.trained.items()]
            self.trained = None
        if plan.users_there and not self.begun and WARMUP in plan.models:
            chains.append(self._warmup())
            self.begun = True
        for place in [p for p in self.hidden if self._ready(p)]:
            self.hidden.remove(place)
            chains.append(self._hidden(place))
        for waiting in (self.truth, self.split):
            if waiting is self.truth and self.look is not None and not self.served:
                continue
            for place in [p for p in waiting if self._ready(p)]:
                waiting.remove(place)
                chains.append(self._serving(place, waiting is self.split))
        return chains

    def _ready(self, place: Place) -> bool:
        there = all(arm in self.plan.models for arm in place.arms)
        return self.warm is None and there and waits_for(self.plan.experiment, place) <= self.done

    def _warmup(self) -> Chain:
        assert self.warm is not None
        yield from warmup(self.plan, self.warm)
        self.warm = None

    def _serving(self, place: Place, judged: bool) -> Chain:
        days = (
            self.plan.experiment.days if judged else min(self.plan.experiment.days, self.stopped())
        )
        yield from serving(self.plan, place, days, self.look if judged else None)
        self.done.add(place)
        self.served = self.served or judged

    def _hidden(self, place: Place) -> Chain:
        yield from serving(self.plan, place, self.plan.experiment.days)
        self.done.add(place)


def by_training(e: Experiment) -> dict[str, tuple[str, ...]]:
    """Arm that is trained on the log -> all who have the same policy and settings, the warm-up's
    policy among them.
    """
    of: dict[tuple[str, str], list[str]] = {}
    _, split, truth = places(Path(), e)
    more = [arm for place in hidden_places(e, [*split, *truth]) for arm in place.arms]
    for arm in dict.fromkeys((*e.policies, e.warmup_policy, *more)):
        key = base_name(arm), str(sorted(e.settings_for(arm).items()))
        of.setdefault(key, []).append(arm)
    shared = {arms[0]: arms for arms in of.values()}
    for arms in shared.values():
        if e.warmup_policy in arms:
            arms.append(WARMUP)
    return {arm: tuple(arms) for arm, arms in shared.items()}


def training(plan: Plan, arm: str, arms: tuple[str, ...]) -> Chain:
    """A policy, trained on the log.

    Args:
        arms: that share it.
    """
    plan.watcher.say(f"policies: {arm} learns from the log")
    place = Place(plan.run, "log", (arm,))
    unit = Training(place, arm, 0, 0.0, "", (), beside=plan.beside)
    (said,) = yield [Unit(f"training of {arm}", fit, (unit,))]
    plan.models |= dict.fromkeys(arms, _file(unit, said))
    plan.finished(f"model {arm}", said["files"], [{"arm": arm, **said}])


def _file(unit: Training, said: dict[str, Any]) -> str:
    """Of a trained policy; "" where it has nothing to store."""
    return str(unit.about.with_suffix(".safetensors")) if said["files"] else ""


def _files(done: list[dict[str, Any]]) -> Listed:
    files: Listed = {}
    for about in done:
        files |= about["files"]
    return files


def warmup(plan: Plan, place: Place) -> Chain:
    """Before the test one policy serves everybody."""
    start = -plan.experiment.warmup_days * DAY
    models = {WARMUP: plan.models[WARMUP]}
    plan.watcher.expect(place, start, 0.0, plan.shards)
    done = yield from plan.segments(
        place,
        lambda shard: Segment(place, shard, plan.shards, 0, start, 0.0, models, -1, None, False),
    )
    plan.finished(f"world {place.name}", _files(done), done)


def serving(
    plan: Plan, place: Place, days: float, look: Callable[[int], bool] | None = None
) -> Chain:
    """A part of the experiment from the end of the warm-up to that of the test.

    Args:
        look: called at the end of each day but the last, with its number; True ends the test.
    """
    e, round_ = plan.experiment, 0
    models = {arm: plan.models[arm] for arm in place.arms}
    coming: tuple[float, int, dict[str, str]] | None = None
    served: list[dict[str, Any]] = []
    begin = 0.0
    plan.watcher.expect(place, 0.0, days * DAY, plan.shards)
    for number, end in enumerate(_synchronisations(e, days, look is not None)):
        swap = coming if coming is not None and coming[0] < end else None
        now = Segment(place, 0, plan.shards, number, begin, end, models, round_, swap, True)
        served += yield from plan.segments(place, lambda shard: replace(now, shard=shard))  # noqa: B023
        if swap is not None:
            (_, round_, models), coming = swap, None
        begin = end
        if end >= days * DAY or (look is not None and end % DAY == 0 and look(round(end / DAY))):
            break
        cut = round(end / e.round_seconds)
        if retrains(e) and not place.hidden and end == cut * e.round_seconds:
            plan.watcher.say(f"{place.name}: retraining for round {cut}")
            learning = [arm for arm in place.arms if e.learns_from(arm) != "none"]
            units = [_retraining(plan, place, arm, cut, models[arm], number) for arm in learning]
            learned = yield [
                Unit(f"{place.name}: retraining of {unit.arm}", retrain, (unit,)) for unit in units
            ]
            files = {u.arm: _file(u, said) for u, said in zip(units, learned, strict=True)}
            coming = (end + e.training_delay_hours * 3600, cut, {**models, **files})
            told = [{"arm": u.arm, **said} for u, said in zip(units, learned, strict=True)]
            plan.finished(f"models {place.name} {cut}", _files(learned), told)
        _drop_states(place, number - 1, plan.shards)
    plan.finished(f"world {place.name}", _files(served), served)


def retrains(e: Experiment) -> bool:
    return e.rounds > 1 and any(e.learns_from(arm) != "none" for arm in e.policies)


def _synchronisations(e: Experiment, days: float, looks: bool) -> list[float]:
    """Times [s] up to which all shards have to be served before anything goes on; the last one is
    the end.
    """
    end = days * DAY
    times = {end}
    if retrains(e):
        times |= {number * e.round_seconds for number in range(1, e.rounds)}
    if looks:
        times |= {day * DAY for day in range(1, int(days) + 1)}
    return sorted(t for t in times if t <= end)


def _retraining(plan: Plan, place: Place, arm: str, cut: int, model: str, segment: int) -> Training:
    """
    Args:
        cut: number of the round. segment: the last one before it.
    """
    e, measured = plan.experiment, measured_by(plan.experiment, place, arm)

    def source(there: Place, bucket: str, code: int) -> Source:
        numbers = range(segment + 1) if there == place else range(cut)
        segments = [
            (there.checkpoint(number, shard), plan.run / there.rows_below)
            for number in numbers
            for shard in range(plan.shards)
        ]
        return Source(bucket, code, tuple(segments), there.hidden)

    sources = [source(*told) for told in taught_by(e, place, arm)]
    warm = [source(Place(plan.run, WARMUP, (WARMUP,)), WARMUP, BY_LOG)] if cut == 1 else []
    return Training(
        place,
        arm,
        cut,
        cut * e.round_seconds,
        model,
        tuple(sources),
        tuple(source(there, bucket, BY_SELF) for there, bucket in measured),
        tuple(warm),
        thinned=e.learns_from(arm) == "thinned",
    )


def _drop_states(place: Place, number: int, shards: int) -> None:
    """What users knew at the end of a segment that others have gone on from."""
    for shard in range(shards if number >= 0 else 0):
        place.checkpoint(number, shard).with_suffix(".safetensors").unlink(missing_ok=True)
