"""A world on disk, between two visits."""

from dataclasses import asdict

from policies.calls import restore, state_of
from policies.common.files import check_listed, listed, load_arrays, save_arrays, save_json
from simulator.engine.histories import Ring
from simulator.engine.recorder import Part, Recorder
from simulator.engine.world import World
from simulator.experiment.run_folder import RunFolder
from simulator.users.state import UserState


def save_world(world: World, next_round: int, run: RunFolder) -> None:
    """Everything that a world needs to go on, at a moment at which nobody is in the middle of a
    visit.
    """
    recorder = recorder_of(world)
    recorder.flush()
    arrays = {f"state.{name}": getattr(world.state, name) for name in UserState.__slots__}
    for kind in ("impressions", "clicks"):
        ring = getattr(world.histories, kind)
        arrays |= {f"{kind}.{name}": getattr(ring, name) for name in Ring.__slots__}
    arrays |= {
        "seen": world.histories.seen,
        "seen_count": world.histories.seen_count,
        "due": world.due,
        "sessions": world.sessions,
    }
    for arm in world.arms:
        state = state_of(arm.name, arm.policy)
        arrays |= {f"policy.{arm.code}.{name}": value for name, value in state.items()}
    path = run.checkpoint(f"{world.name}-{next_round}")
    save_arrays(path, arrays)
    about = {
        "file": listed(run.path, path),
        "next_round": next_round,
        "rounds": [arm.round for arm in world.arms],
        "pages": world.pages_served,
        "parts": [asdict(part) for part in recorder.parts],
    }
    save_json(run.checkpoint(world.name).with_suffix(".json"), about)


def restore_world(world: World, run: RunFolder, about: dict) -> None:
    """Puts a checkpoint back into a freshly made world and deletes rows that were
    written after it.
    """
    check_listed(run.path, about["file"])
    arrays = load_arrays(run.checkpoint(f"{world.name}-{about['next_round']}"))
    for name in UserState.__slots__:
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
        state = {
            name.removeprefix(prefix): value
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        restore(arm.name, arm.policy, state)
    world.hand_truth()
    world.pages_served = about["pages"]
    recorder_of(world).keep_only(
        [Part(**part) for part in about["parts"]], [arm.bucket for arm in world.arms]
    )


def recorder_of(world: World) -> Recorder:
    """Where the world of an experiment writes: a run folder, which can be gone on with."""
    assert isinstance(world.sink, Recorder)
    return world.sink
