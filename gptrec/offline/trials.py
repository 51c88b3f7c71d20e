"""One trial: one model, one seed, trained within a budget, chosen on validation, ranked once on the
test part.

A trial can be killed at any moment and goes on from its last checkpoint to the same weights.
"""

import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gptrec.offline.leave_one_out import LeaveOneOut, metrics, ranks
from policies.calls import train
from policies.common.errors import InputError
from policies.common.files import load_arrays, save_arrays, save_json
from policies.draws import generator
from policies.neural.next_items import gains
from policies.neural.sequential import Sequential
from policies.neural.training import Trainer
from policies.registry import find, make, settings_of

FORMAT = "2"
WARM_UP = 12  # timed steps per stage
SAVE_EVERY = 30.0  # seconds between checkpoints
# settings that only the simulator reads
# What trains or serves elsewhere: lengths are budgets here, and nothing was shown.
WITHOUT_EFFECT = (
    "epochs",
    "prompt_epochs",
    "validation_",
    "update_",
    "answers",
    "objective",
    "recalled",
    "content",
)
VALIDATION_USERS = 5000
ABLATIONS: dict[str, dict[str, Any]] = {
    "user": {"user_module": False},
    "prompts": {"prompt_share": 0.0},
    "interests": {},  # needs no training of its own: the same weights are ranked with one interest
}
# Settings of the offline protocol, the same for all networks: wider and with more negatives than in
# the simulator's short retrainings, and no room for sessions. The rate falls to zero at the end of
# the budget, so that a stage that ended early would end half-trained: nothing stops early,
# validation chooses among the weights on the way.
COMMON: dict[str, Any] = {
    "room": 0,
    "batch_tokens": 1024,
    "sampled": 2048,
    "rate": 3e-3,
    "width": 128,
    "layers": 1,
    "dropout": 0.4,
    "patience": 100,
    "untied": True,
}
OFFLINE: dict[str, dict[str, Any]] = {
    "popularity": {"half_life_days": 1e9},
    "itemknn": {},
    "bprmf": {"iterations": 200},
    "gru4rec": COMMON,
    "bert4rec": COMMON,
    "sasrec": COMMON,
    # The paper's model, prompts included; `--ablate prompts` is the one without.
    "gptrec": {**COMMON, "user_dropout": 0.9, "prompt_share": 0.25},
}


@dataclass(frozen=True)
class Task:
    """What a trial is to do.

    Attributes:
        label: how tables call it; `gptrec - user` for an ablation.
        settings: of the policy, on top of `OFFLINE`.
        steps: per stage, for a network.
        test: whether to open the test part; tuning never does.
    """

    label: str
    model: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    test: bool = True

    @property
    def file(self) -> str:
        return f"{self.label.replace(' ', '_').replace(':', '_')}.seed{self.seed}"


def is_network(model: str) -> bool:
    return isinstance(make(model), Sequential)


def without_chance(task: Task) -> bool:
    """Whether seeds make no difference."""
    return bool(getattr(find(task.model), "deterministic", False))


def policy_of(task: Task) -> Any:
    return make(task.model, settings_for(task.model, task.settings))


def settings_for(model: str, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the offline protocol, then those that were given."""
    known = settings_of(find(model))
    return {key: value for key, value in OFFLINE.get(model, {}).items() if key in known} | given


def begun(task: Task, split: LeaveOneOut) -> tuple[Sequential, Callable[..., Trainer]]:
    """A network before its first step, and what makes its trainer."""
    policy = policy_of(task)
    rng = generator("offline", task.model, task.seed)
    policy.begin(split.train, split.n_items, split.n_users, rng)

    def trainer(validate: Callable[[], float] | None, **limits: Any) -> Trainer:
        return policy.trainer(policy.stages(split.train), rng, validate, **limits)

    return policy, trainer


def steps_within(task: Task, split: LeaveOneOut, seconds: float) -> tuple[int, ...]:
    """Steps of each stage that fit into so much training time on this machine, from a timed
    warm-up.
    """
    policy, make_trainer = begun(task, split)
    shares = [stage.share for stage in policy.stages(split.train)]
    trainer = make_trainer(None, steps=[WARM_UP] * len(shares))
    taken: list[list[float]] = [[] for _ in shares]
    while not trainer.done:
        stage, start = trainer.stage, time.perf_counter()
        trainer.advance()
        taken[stage].append(time.perf_counter() - start)
    # The first steps pay for making the epoch and for memory; batches differ in width, so the mean
    # of the rest counts.
    return tuple(
        max(1, int(seconds * share / float(np.mean(times[2:]))))
        for share, times in zip(shares, taken, strict=True)
    )


def run(
    task: Task, split: LeaveOneOut, out: Path, show: Callable[[str, float, float], None]
) -> dict[str, Any]:
    """Runs a trial, or goes on with it; returns and writes its record.

    Args:
        show: called with the label, the share that is done and the last validation score.
    """
    record = out / "trials" / f"{task.file}.json"
    if record.exists():
        return _finished(record, task)
    began = time.perf_counter()
    trial: dict[str, Any] = {
        "task": asdict(task),
        "label": task.label,
        "seed": task.seed,
        "file": task.file,
    }
    if is_network(task.model):
        policy, fitted = _train(task, split, out, show)
        trial |= fitted
        if hasattr(policy, "interests"):
            trial["interests"] = _choose_interests(policy, split, task.settings)
    else:
        policy = policy_of(task)
        train(task.label, "fit", policy, *split.log(), generator("offline", task.model, task.seed))
        trial |= {"train_seconds": time.perf_counter() - began, "curve": []}
    valid = ranks(policy, split, "valid")
    arrays = {"valid": valid}
    trial["valid"] = metrics(valid)
    if task.test:
        start = time.perf_counter()
        arrays["test"] = ranks(policy, split, "test")
        trial["test"] = metrics(arrays["test"])
        trial["users_per_second"] = len(split.users) / (time.perf_counter() - start)
        if hasattr(policy, "interests"):  # what the further interests add, on the same weights
            policy.interests = 1
            arrays["one_interest"] = ranks(policy, split, "test")
    trial["seconds"] = time.perf_counter() - began + trial.pop("seconds_before", 0.0)
    trial["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    save_arrays(out / "trials" / f"{task.file}.safetensors", arrays)
    save_json(record, trial)
    return trial


def validation_users(split: LeaveOneOut) -> np.ndarray:
    """Rows of `split.users` that are looked at while training; the same for every model
    and seed.
    """
    n = min(VALIDATION_USERS, len(split.users))
    return np.sort(
        generator("offline", "validation users").choice(len(split.users), n, replace=False)
    )


def _train(
    task: Task, split: LeaveOneOut, out: Path, show: Callable[[str, float, float], None]
) -> tuple[Sequential, dict[str, Any]]:
    policy, make_trainer = begun(task, split)
    some = validation_users(split)
    if hasattr(policy, "interests"):
        policy.interests = 1  # while training; how many is chosen at the end
    timing = {"validate": 0.0}

    def validate() -> float:
        start = time.perf_counter()
        score = float(gains(ranks(policy, split, "valid", some, k=10), 10).mean())
        timing["validate"] += time.perf_counter() - start
        return score

    trainer = make_trainer(validate, steps=list(task.steps), patience=policy.patience)
    checkpoint = out / "checkpoints" / f"{task.file}.safetensors"
    about = {
        "format": FORMAT,
        "model": task.model,
        "items": str(split.n_items),
        "users": str(split.n_users),
        "settings": json.dumps(task.settings, sort_keys=True),
        "steps": str(list(task.steps)),
    }
    before, spent, curve = 0.0, np.zeros(2), []
    if checkpoint.exists():
        arrays = load_arrays(checkpoint, about)
        trainer.restore(arrays)
        curve = json.loads(arrays["curve"].tobytes().decode())
        before, spent = float(arrays["seconds"][0]), arrays["seconds"][1:]
    total, start, saved = sum(task.steps), time.perf_counter(), time.perf_counter()

    def trained() -> float:
        return before + time.perf_counter() - start - timing["validate"]

    def after(now: Trainer, validated: bool) -> None:
        nonlocal saved
        done = sum(task.steps[: now.stage]) + now.step
        if validated:
            curve.append([trained(), now.scores[-1]])
        if time.perf_counter() - saved > SAVE_EVERY or now.done:
            words = np.frombuffer(json.dumps(curve).encode(), np.uint8)
            seconds = np.array(
                [trained(), spent[0] + timing["validate"], spent[1] + time.perf_counter() - start]
            )
            save_arrays(checkpoint, {**now.state(), "curve": words, "seconds": seconds}, about)
            saved = time.perf_counter()
        if validated or now.step % 20 == 0 or now.done:
            show(task.label, done / total, now.scores[-1] if now.scores else float("nan"))

    trainer.run(after)
    fitted = {
        "train_seconds": trained(),
        "validate_seconds": spent[0] + timing["validate"],
        "seconds_before": spent[1],
        "curve": curve,
        "best": max(trainer.scores),
        "sequences": trainer.sequences,
    }
    return policy, fitted


def _finished(record: Path, task: Task) -> dict[str, Any]:
    """The record of a finished trial, if it is of this very task."""
    stored: dict[str, Any] = json.loads(record.read_text())
    if stored["task"] != json.loads(json.dumps(asdict(task))):
        raise InputError(
            f"'{record}' is of other settings than '{task.label}' has now; start a new evaluation"
        )
    return stored


def _choose_interests(policy: Any, split: LeaveOneOut, given: dict[str, Any]) -> dict[str, Any]:
    """Sets J and m : n to the best NDCG@20 on validation, unless they were given; returns what was
    tried.
    """
    if "interests" in given or "later" in given:
        policy.interests, policy.later = (
            int(given.get(name, 1)) for name in ("interests", "later")
        )
        return {"chosen": f"{policy.interests} x {policy.later}", "valid_ndcg@20": {}}
    tried, some = {}, validation_users(split)
    for interests, later in ((1, 1), (2, 1), (2, 2), (2, 4), (3, 1), (3, 2), (4, 1), (4, 2)):
        policy.interests, policy.later = interests, later
        tried[f"{interests} x {later}"] = float(
            gains(ranks(policy, split, "valid", some), 20).mean()
        )
    best = max(tried, key=lambda key: tried[key])  # of equal ones the first: fewer interests
    policy.interests, policy.later = (int(part) for part in best.split(" x "))
    return {"chosen": best, "valid_ndcg@20": tried}
