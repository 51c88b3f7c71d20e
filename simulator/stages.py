"""The parts of an experiment: data, users, population, policies, and the worlds they meet in."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from policies.base import Policy
from policies.draws import Draws, generator, key_of
from policies.errors import InputError
from policies.files import load_arrays, save_arrays, save_json
from policies.log import Dataset, Impressions
from policies.registry import base_name, find, make
from policies.sources import LEVEL_NAMES, given_levels, load
from simulator.buckets import HELD_OUT, assign, parse_weights
from simulator.config import Experiment
from simulator.engine import Arm, World
from simulator.history import Histories, Ring
from simulator.mind import State
from simulator.minds import MATRIX_SHARE, replays
from simulator.oracle import Oracle
from simulator.recorder import WARMUP, Part, Recorder
from simulator.storage import RunFolder
from simulator.turnover import newcomers, rates
from simulator.users import DAY, ChoiceModel
from simulator.world import load_world

T = TypeVar("T")


def load_data(e: Experiment) -> Dataset:
    """The log of an experiment, checked against its settings."""
    levels = calibration_of(e)
    if e.log.startswith("world:"):
        if e.columns is not None or e.click_threshold is not None:
            raise InputError("--columns and --click-threshold are for logs in files; the built-in world needs neither")
        seed = e.log.removeprefix("world:") or "0"
        if not seed.isdigit():
            raise InputError(f"--log '{e.log}': wanted world: or world:SEED, such as world:7")
        data = load_world(int(seed))[0]
        data.calibration.update(given_levels(levels))
    else:
        data = load(e.log, e.columns, e.click_threshold, levels)
    available = int(data.catalogue.available(0.0).sum())
    if available < e.slate_size:
        raise InputError(
            f"the log has {available} items, fewer than a slate of {e.slate_size}; use a smaller --slate-size"
        )
    if available < e.slate_size + e.repeat_after:
        raise InputError(
            f"the log has {available} items; slates of {e.slate_size} with repeat_after={e.repeat_after} need "
            f"{e.slate_size + e.repeat_after}: use --set repeat_after={available - e.slate_size} or less"
        )
    return data


def page_length(data: Dataset) -> int | None:
    """Items per page of the log, as the median; None where it does not show whole sessions."""
    if "sessions" not in data.has:
        return None
    log = data.log
    pages = pd.DataFrame({"user": log.user, "session": log.session, "page": log.page}).value_counts(sort=False)
    return int(np.clip(np.median(pages.to_numpy()), 1, 100))


def size_note(e: Experiment, data: Dataset) -> tuple[str, ...]:
    """A sentence where slates are longer or shorter than the log's pages."""
    length = page_length(data)
    if length is None or length == e.slate_size:
        return ()
    said = (
        f"The log's pages hold {length} {'item' if length == 1 else 'items'}, the slates here {e.slate_size}: people see "
        f"{e.slate_size / length:.3g} times as much per page as in the log (--slate-size {length} for the log's own)."
    )
    if length == 1:
        said += " Rows count as one page where they share a second, or the page that --columns names."
    return (said,)


def with_threads(n: int, work: Callable[[], T]) -> T:
    """`work` with so many threads of torch: sums depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


def calibration_of(e: Experiment) -> dict[str, float]:
    """`--calibrate name=value,...` as numbers."""
    found = {}
    for pair in (e.calibrate or "").split(","):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if name not in LEVEL_NAMES:
            raise InputError(f"--calibrate '{pair}': wanted name=value with a name of {', '.join(LEVEL_NAMES)}")
        try:
            found[name] = float(value)
        except ValueError:
            raise InputError(f"--calibrate '{pair}': '{value}' is no number") from None
    return found


def before_warmup(data: Dataset, e: Experiment, share: float = 1.0) -> Dataset:
    """The same data set with its last event at the start of the warm-up, time 0 being the start of the test.

    Args:
        share: of the pairs of users and items that are kept, drawn by the seed.
    """
    shift = e.warmup_days * DAY
    log = _thinned(replace(data.log, time=data.log.time - shift), share, e.seed)
    history = _thinned(replace(data.history, time=data.history.time - shift), share, e.seed)
    return replace(data, log=log, history=history, hour_zero=(data.hour_zero + 24 * e.warmup_days) % 24)


def policy_share(e: Experiment, model: ChoiceModel) -> float:
    """Of the log's pairs that policies learn from."""
    if not replays(model):
        return 1.0 if e.policy_share is None else e.policy_share
    if e.policy_share == 1:
        raise InputError(
            "users replay this log's matrix: policies that learn from all of it have seen the truth; lower policy_share"
        )
    return MATRIX_SHARE if e.policy_share is None else e.policy_share


def _thinned(log: Impressions, share: float, seed: int) -> Impressions:
    if share >= 1:
        return log
    place = Draws(key_of("policy share", seed), log.user, log.item).uniform("pair", 1)[:, 0]
    return log.rows(place < share)


def population(e: Experiment, model: ChoiceModel) -> tuple[np.ndarray, ChoiceModel, np.ndarray]:
    """(n,) user ids, the model of these users, and when they come first [s]; -inf for those who are there from the start.

    Users come in an order that depends on the seed alone, so that a smaller population is the first part of a
    larger one. Beyond the fitted users, newcomers get their parameters and ids of their own, unknown to all policies.
    """
    fitted = np.arange(model.n_users)
    order = np.argsort(Draws(key_of("population", e.seed), fitted, fitted * 0).uniform("place", 1)[:, 0])
    rows = np.resize(order, e.users)
    turn = np.arange(e.users) // model.n_users
    ids = np.where(turn == 0, rows, turn * model.n_users + rows).astype(np.int32)
    more, like, arrival = newcomers(e, model, rates(e, model)["new_users"])
    people = model.of_users(np.concatenate([rows, like]))
    return np.concatenate([ids, more]), people, np.concatenate([np.full(e.users, -np.inf), arrival])


def train_policies(e: Experiment, data: Dataset, run: RunFolder, say: Callable[[str], None]) -> dict[str, Policy]:
    """Every arm's policy, trained on the log; arms with the same policy and settings share the training."""
    log = data.for_policies()
    trained: dict[tuple[str, str], Policy] = {}
    found: dict[str, Policy] = {}
    for arm in (*e.policies, e.warmup_policy):
        base, settings = base_name(arm), e.settings_for(arm)
        if base == "oracle":
            found[arm] = Oracle()
            continue
        key = base, str(sorted(settings.items()))
        if key not in trained:
            policy = make(base, settings)
            stored = run.path / "models" / f"{arm.replace(':', '.')}-round00.safetensors"
            if stored.exists():
                policy.restore(load_arrays(stored))
            else:
                began = time.monotonic()
                say(f"policies: {arm}, trained on {len(log)} rows")
                policy.fit(log, data.catalogue, generator("train", e.seed, base, sorted(settings.items()), 0))
                save_arrays(stored, policy.state())
                run.manifest.setdefault("training", {})[arm] = {
                    "seconds": round(time.monotonic() - began, 1),
                    "validation_ndcg10": [round(x, 4) for x in getattr(policy, "scores_", [])],
                }
            trained[key] = policy
        found[arm] = trained[key]
    run.save()
    return found


def copy_of(e: Experiment, arm: str, policy: Policy) -> Policy:
    """A policy of its own for a world, with the same weights."""
    if isinstance(policy, Oracle):
        return Oracle()
    other = make(base_name(arm), e.settings_for(arm))
    other.restore({name: value.copy() for name, value in policy.state().items()})
    return other


# -- worlds ---------------------------------------------------------------------------------------------------------


def first_world(
    e: Experiment,
    data: Dataset,
    model: ChoiceModel,
    ids: np.ndarray,
    arrival: np.ndarray,
    policies: dict[str, Policy],
    run: RunFolder,
) -> World:
    """The population at the start of the warm-up, which one policy serves. `arrival` as of `population`."""
    start = -e.warmup_days * DAY
    lengths = {"impressions": 0, "clicks": 0}
    for policy in policies.values():
        lengths[policy.history_of] = max(lengths[policy.history_of], int(policy.history_length))
    histories = Histories.of(len(ids), lengths["impressions"], lengths["clicks"], e.repeat_after)
    place = np.full(data.n_users, -1)
    known = ids < data.n_users
    place[ids[known]] = np.flatnonzero(known)
    histories.load(data.for_policies(), place)
    first = Draws(key_of("first visit", e.seed), ids, np.zeros_like(ids))
    return World(
        name=WARMUP, experiment=e, model=model, catalogue=data.catalogue, ids=ids,
        bucket=np.full(len(ids), HELD_OUT, np.int16),
        arms=[Arm(WARMUP, -1, copy_of(e, e.warmup_policy, policies[e.warmup_policy]))],
        state=model.start(len(ids), start), histories=histories,
        due=np.where(np.isfinite(arrival), arrival, model.first_visit(np.arange(len(ids)), start, first)),
        sessions=np.zeros(len(ids), np.int32), recorder=_recorder(e, run, "impressions", "truth"),
    )  # fmt: skip


def _recorder(e: Experiment, run: RunFolder, folder: str, truth: str) -> Recorder:
    shadow = run.path / "off_policy" if e.off_policy and folder == "impressions" else None
    return Recorder(run.path / folder, run.path / truth if e.record_truth else None, shadow)


def plan(e: Experiment) -> list[tuple[str, tuple[str, ...]]]:
    """The worlds of an experiment after the warm-up: (name, arms). `global-ARM` gives everybody that arm."""
    if e.design == "twin":
        return [(f"twin-{arm}", (arm,)) for arm in e.policies]
    worlds: list[tuple[str, tuple[str, ...]]] = [("split", e.policies)]
    if e.truth:
        worlds += [(f"global-{arm}", (arm,)) for arm in e.contenders]
    return worlds


def start_world(
    name: str, arms: tuple[str, ...], e: Experiment, warm: World, policies: dict[str, Policy], run: RunFolder
) -> World:
    """A world that goes on from the end of the warm-up, with minds, histories and policies of its own."""
    codes = {arm: e.policies.index(arm) for arm in arms}
    if name == "split":
        bucket = assign(warm.ids, parse_weights(e.weights, len(e.policies)), e.bucket_salt)
        recorder = warm.recorder
    else:
        bucket = np.full(len(warm.ids), codes[arms[0]], np.int16)
        folder = f"truth_worlds/{arms[0].replace(':', '.')}" if name.startswith("global") else None
        recorder = _recorder(
            e,
            run,
            f"{folder}/impressions" if folder else "impressions",
            f"{folder}/truth" if folder else "truth",
        )
        recorder = _WithWarmup(recorder, warm.recorder)
    return World(
        name=name, experiment=e, model=warm.model, catalogue=warm.catalogue, ids=warm.ids, bucket=bucket,
        arms=[Arm(arm, codes[arm], copy_of(e, arm, policies[arm]), repeats=e.repeats(arm)) for arm in arms],
        state=warm.state.copy(), histories=warm.histories.copy(), due=warm.due.copy(), sessions=warm.sessions.copy(),
        recorder=recorder,
    )  # fmt: skip


class _WithWarmup(Recorder):
    """Records a world of its own, and reads the warm-up that all worlds share."""

    def __init__(self, own: Recorder, shared: Recorder):
        super().__init__(own.folder, own.truth_folder)
        self.shared = shared

    def rows(self, buckets: dict[str, int], start: float, end: float):  # type: ignore[no-untyped-def]
        own = {name: code for name, code in buckets.items() if name != WARMUP}
        found = super().rows(own, start, end)
        if WARMUP not in buckets:
            return found
        shared = Recorder(self.shared.folder)
        shared.parts = [part for part in self.shared.parts if part.bucket == WARMUP]
        warm = shared.rows({WARMUP: buckets[WARMUP]}, start, end)
        return type(found).concat([warm, found]).sorted()


# -- checkpoints ----------------------------------------------------------------------------------------------------


def save_world(world: World, next_round: int, run: RunFolder) -> None:
    """Everything that a world needs to go on, at a moment at which nobody is in the middle of a visit."""
    world.recorder.flush()
    arrays = {f"state.{name}": getattr(world.state, name) for name in State.__slots__}
    for kind in ("impressions", "clicks"):
        ring = getattr(world.histories, kind)
        arrays |= {f"{kind}.{name}": getattr(ring, name) for name in Ring.__slots__}
    arrays |= {
        "seen": world.histories.seen, "seen_count": world.histories.seen_count,
        "due": world.due, "sessions": world.sessions,
    }  # fmt: skip
    for arm in world.arms:
        arrays |= {f"policy.{arm.code}.{name}": value for name, value in arm.policy.state().items()}
    save_arrays(run.checkpoint(f"{world.name}-{next_round}"), arrays)
    about = {
        "next_round": next_round,
        "rounds": [arm.round for arm in world.arms],
        "pages": world.pages_served,
        "parts": [asdict(part) for part in world.recorder.parts],
    }
    save_json(run.checkpoint(world.name).with_suffix(".json"), about)


def restore_world(world: World, run: RunFolder, about: dict) -> None:
    """Puts a checkpoint back into a freshly made world and deletes rows that were written after it."""
    arrays = load_arrays(run.checkpoint(f"{world.name}-{about['next_round']}"))
    for name in State.__slots__:
        if f"state.{name}" in arrays:  # runs of before there was drift have none
            setattr(world.state, name, arrays[f"state.{name}"])
    for kind in ("impressions", "clicks"):
        for name in Ring.__slots__:
            setattr(getattr(world.histories, kind), name, arrays[f"{kind}.{name}"])
    world.histories.seen, world.histories.seen_count = arrays["seen"], arrays["seen_count"]
    world.due, world.sessions = arrays["due"], arrays["sessions"]
    for arm, number in zip(world.arms, about["rounds"], strict=True):
        arm.round = number
        prefix = f"policy.{arm.code}."
        state = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
        if not isinstance(arm.policy, Oracle):
            arm.policy.restore(state)
    world.pages_served = about["pages"]
    world.recorder.keep_only([Part(**part) for part in about["parts"]], [arm.bucket for arm in world.arms])


# -- what the analysis needs ----------------------------------------------------------------------------------------


def tables(
    e: Experiment, data: Dataset, ids: np.ndarray, bucket: np.ndarray | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users with their bucket (every arm in turn in a twin run), and items with their rank by clicks in the log."""
    known = np.where(ids < data.n_users, ids, 0)
    names = np.where(ids < data.n_users, data.user_ids[known], [f"new-{i}" for i in ids])
    arm = np.array([*e.policies, None], dtype=object)
    users = pd.DataFrame({"user": ids, "user_id": names, "bucket": arm[bucket] if bucket is not None else None})
    clicks = np.bincount(data.log.item[data.log.clicked], minlength=data.catalogue.size + 1)[1:]
    percentile = pd.Series(clicks).rank(method="average", pct=True).to_numpy()
    items = pd.DataFrame(
        {
            "item": np.arange(1, data.catalogue.size + 1, dtype=np.int32),
            "item_id": data.catalogue.ids[1:],
            "category": np.array(data.catalogue.categories, dtype=object)[data.catalogue.category[1:]],
            "popularity_percentile": 100 * percentile,
        }
    )
    return users, items


def check_importable(e: Experiment) -> None:
    """Fails early, before any work, where a policy of a third party cannot be made."""
    for arm in (*e.policies, e.warmup_policy):
        if base_name(arm) != "oracle":
            make(base_name(arm), e.settings_for(arm))
            find(base_name(arm))
