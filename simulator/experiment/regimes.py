"""Whose rows an arm learns from: its own, everybody's, or those of a world that it does not touch.

    own      what it showed and got.
    all      in a split the rows of all arms; in twin worlds an equal share from the worlds of all
             arms that learn from their own rows.
    open     the rows of the same users where the same policy never retrains: more data, no loop.
    outside  the rows of the same users where slates are uniformly random.
    thinned  those of open, whole pages of each user up to about as many clicks as outside has: what
             random slates teach at equal clicks (and fewer skips).
    none     it learns nothing.

In every regime the arm itself serves the users that are judged, and what they did before is theirs.
Common randomness is by user, session and page, so that these worlds differ by the slates alone.
"""

from pathlib import Path

from policies.base import BY_OTHER, BY_SELF
from policies.exploring import SETTINGS as OF_ANY
from policies.registry import base_name, is_reference
from simulator.experiment.units import FROZEN, OUTSIDE, Place
from simulator.settings import Experiment

UNIFORM = "uniform"


def kind(e: Experiment, arm: str) -> tuple[str, str]:
    """Policy and settings of an arm, those of the engine included, but for what it learns from and
    how often.
    """
    own = {key: value for key, value in e.settings_for(arm).items() if key != "updates"}
    return base_name(arm), str((sorted(own.items()), e.repeats(arm)))


def updates(e: Experiment, arm: str) -> int:
    """How often it retrains at most; -1 = always."""
    return int(float(e.settings_for(arm).get("updates", OF_ANY["updates"][0])))


def learns(e: Experiment, arm: str) -> bool:
    """Whether it ever retrains."""
    return (
        e.rounds > 1
        and e.learns_from(arm) != "none"
        and updates(e, arm) != 0
        and not is_reference(arm)
    )


def frozen_place(run: Path, e: Experiment, arm: str) -> Place:
    """Where the policy of this arm serves everybody and never retrains."""
    if e.design == "twin":
        for other in e.policies:
            if kind(e, other) == kind(e, arm) and updates(e, other) == 0:
                return Place(run, f"twin-{other}", (other,))
    return Place(run, f"{FROZEN}{arm}", (arm,))


def random_place(run: Path, e: Experiment) -> Place:
    """Where everybody gets uniformly random slates."""
    if e.design == "twin" and UNIFORM in e.policies:
        return Place(run, f"twin-{UNIFORM}", (UNIFORM,))
    return Place(run, OUTSIDE, (UNIFORM,))


def own_places(run: Path, e: Experiment) -> dict[str, Place]:
    """Twin worlds: arm -> place of those that learn from their own rows."""
    return {
        arm: Place(run, f"twin-{arm}", (arm,))
        for arm in e.policies
        if e.learns_from(arm) == "own" and learns(e, arm)
    }


def taught_by(e: Experiment, place: Place, arm: str) -> list[tuple[Place, str, int]]:
    """Place, arm and code (`BY_SELF`, `BY_OTHER`) of the rows that an arm of a place learns from.

    The frozen policy's rows are told as the arm's own: own and open differ by the loop alone.
    """
    way = e.learns_from(arm) if learns(e, arm) else "own"
    if way in ("open", "thinned"):
        there = frozen_place(place.run, e, arm)
        return [(there, there.arms[0], BY_SELF)]
    if way == "outside":
        there = random_place(place.run, e)
        return [(there, UNIFORM, BY_OTHER)]
    if way == "all" and e.design == "twin":
        return [
            (there, other, BY_SELF if kind(e, other) == kind(e, arm) else BY_OTHER)
            for other, there in own_places(place.run, e).items()
        ]
    if way == "all":
        return [(place, other, BY_SELF if other == arm else BY_OTHER) for other in place.arms]
    return [(place, arm, BY_SELF)]


def measured_by(e: Experiment, place: Place, arm: str) -> list[tuple[Place, str]]:
    """With `equal_rows`: whose pages bound how many an arm learns from, the same for all regimes of
    a policy: its own world's, the frozen one's, and, last, those of random slates.
    """
    if not e.equal_rows or not learns(e, arm):
        return []
    own = own_places(place.run, e).items()
    mine = [there for other, there in own if kind(e, other) == kind(e, arm)]
    places = [*mine[:1], frozen_place(place.run, e, arm), random_place(place.run, e)]
    return [(there, there.arms[0]) for there in places]


def waits_for(e: Experiment, place: Place) -> set[Place]:
    """The places that have to be done before this one may begin."""
    others: set[Place] = set()
    for arm in place.arms:
        if learns(e, arm) and not place.hidden:
            others |= {there for there, *_ in taught_by(e, place, arm)}
            others |= {there for there, _ in measured_by(e, place, arm)}
    return others - {place}


def hidden_places(e: Experiment, places: list[Place]) -> list[Place]:
    """Worlds that are wanted for their rows alone."""
    wanted = {there for place in places for there in waits_for(e, place)}
    return sorted(wanted - set(places), key=lambda there: there.world)
