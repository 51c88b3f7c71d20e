"""Measures of the run of one seed: what each arm showed in each round, beside what is true."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.loops.discovery import discovery
from analysis.loops.measures import Known, Served, user_measures, world_measures
from policies.common.files import load_arrays, save_arrays
from simulator.experiment.units import Place
from simulator.population.newcomers import with_new_items
from simulator.population.people import population
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel
from simulator.users.storage import load_users

KEYS = ["time", "user", "session", "page", "slot"]


@dataclass(frozen=True)
class OfSeed:
    """
    Attributes:
        users: (arm, measure) -> (rounds, B). worlds: the same -> (rounds,). exposure: arm ->
            (rounds, N) impressions of each item. taste: arm -> (rounds, C, C) mean logits moved of
            each taste group (by its category, NaN of nobody); empty where taste stays. start:
            (C, C) shares of each group's taste.
            learned: arm -> (rounds - 1, 2) rows and clicks that it learned from.
    """

    users: dict[tuple[str, str], np.ndarray]
    worlds: dict[tuple[str, str], np.ndarray]
    exposure: dict[str, np.ndarray]
    taste: dict[str, np.ndarray]
    start: np.ndarray
    learned: dict[str, np.ndarray]


def measures_of(run: Path, experiment: Experiment, arms: dict[str, str], stored: Path) -> OfSeed:
    """Of a finished run, measured once and stored.

    Args:
        arms: arm -> the arm that never retrains of its policy.
    """
    if not stored.exists():
        save_arrays(stored, _arrays(_measured(run, experiment, arms)))
    arrays = load_arrays(stored)

    def below(kind: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(f"{kind} "): array
            for name, array in arrays.items()
            if name.startswith(f"{kind} ")
        }

    def pairs(kind: str) -> dict[tuple[str, str], np.ndarray]:
        split = ((name.partition(" "), array) for name, array in below(kind).items())
        return {(arm, measure): array for (arm, _, measure), array in split}

    return OfSeed(
        *(pairs("user"), pairs("world"), below("exposure"), below("taste")),
        arrays["start"],
        below("learned"),
    )


def _arrays(found: OfSeed) -> dict[str, np.ndarray]:
    arrays = {f"user {arm} {name}": x.astype(np.float32) for (arm, name), x in found.users.items()}
    arrays |= {f"world {arm} {name}": x for (arm, name), x in found.worlds.items()}
    arrays |= {f"exposure {arm}": x for arm, x in found.exposure.items()}
    arrays |= {f"taste {arm}": x for arm, x in found.taste.items()}
    arrays |= {f"learned {arm}": x for arm, x in found.learned.items()}
    return {**arrays, "start": found.start}


def _measured(run: Path, experiment: Experiment, arms: dict[str, str]) -> OfSeed:
    model = load_users(run / "users")
    assert isinstance(model, ChoiceModel)
    model, born = with_new_items(experiment, model)
    ids, people, _ = population(experiment, model)
    assert isinstance(people, ChoiceModel)
    place = pd.Series(np.arange(len(ids)), ids)
    items = pd.read_parquet(run / "items.parquet", columns=["item", "popularity_percentile"])
    state = people.start(len(ids), 0.0)
    everybody = np.arange(len(ids))
    known = Known(
        people.click_probability(state, everybody, np.zeros(len(ids))),
        people.category,
        np.concatenate([[0.0], items.sort_values("item")["popularity_percentile"]]),
    )
    groups = [known.group == c for c in range(known.taste.shape[1])]
    moved = {arm: _moved(run, experiment, arm, ids) for arm in arms}
    users: dict[tuple[str, str], list[np.ndarray]] = {}
    worlds: dict[tuple[str, str], list[float]] = {}
    exposures: dict[str, np.ndarray] = {}
    for arm, frozen in arms.items():
        rows = _rows(run, arm, place)
        number = np.minimum(rows["time"] // experiment.round_seconds, experiment.rounds - 1)
        exposure = np.zeros((experiment.rounds, known.chance.shape[1] - 1), np.int64)
        for round_ in range(experiment.rounds):
            served = _served(rows[number == round_], moved[arm][round_], moved[frozen][round_])
            of_users = user_measures(served, known)
            for name, values in of_users.items():
                users.setdefault((arm, name), []).append(values)
            before, there = exposure.sum(axis=0), born < (round_ + 1) * experiment.round_seconds
            found = world_measures(served, known, of_users["utility"], before, there)
            for name, value in found.items():
                worlds.setdefault((arm, name), []).append(value)
            exposure[round_] = np.bincount(served.item, minlength=exposure.shape[1] + 1)[1:]
        exposures[arm] = exposure
        if experiment.new_items:
            new = discovery(exposure, known.merit, born, experiment.round_seconds)
            worlds |= {(arm, name): list(values) for name, values in new.items()}
    return OfSeed(
        {key: np.stack(values) for key, values in users.items()},
        {key: np.array(values, float) for key, values in worlds.items()},
        exposures,
        {
            arm: np.stack([[_mean(x, mine) for mine in groups] for x in there])
            for arm, there in moved.items()
            if there.size
        },
        np.stack([_mean(known.taste, mine) for mine in groups]),
        {arm: _learned(run, experiment, arm) for arm, frozen in arms.items() if arm != frozen},
    )


def _mean(values: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """(C,) of these users; NaN of nobody."""
    nobody = np.full(values.shape[1], np.nan)
    return values[mine].mean(axis=0) if mine.any() else nobody


def _learned(run: Path, experiment: Experiment, arm: str) -> np.ndarray:
    """(rounds - 1, 2) rows and clicks that an arm has learned from."""
    there = Place(run, f"twin-{arm}", (arm,))
    told = []
    for number in range(1, experiment.rounds):
        model = there.model(arm, number)
        about = json.loads(model.with_name(f"{model.name}.json").read_text(encoding="utf-8"))
        told.append([about["rows"], about["clicks"]])
    return np.array(told)


def _rows(run: Path, arm: str, place: pd.Series) -> pd.DataFrame:
    """What an arm showed, with the true chance of a click, users as places."""
    shown, truth = (
        pd.concat(
            pd.read_parquet(file, columns=columns, partitioning=None)
            for file in sorted((run / folder / f"bucket={arm}").rglob("*.parquet"))
        ).sort_values(KEYS, ignore_index=True)
        for folder, columns in (
            ("impressions", [*KEYS, "item", "clicked"]),
            ("truth", [*KEYS, "probability"]),
        )
    )
    user = place[shown["user"]].to_numpy()
    return shown.assign(user=user, chance=truth["probability"])


def _served(rows: pd.DataFrame, moved: np.ndarray, frozen: np.ndarray) -> Served:
    page = rows.groupby(["user", "session", "page"], sort=False).ngroup().to_numpy()
    item, clicked, chance = (rows[name].to_numpy() for name in ("item", "clicked", "chance"))
    return Served(rows["user"].to_numpy(), page, item, clicked, chance, moved, frozen)


def _moved(run: Path, experiment: Experiment, arm: str, ids: np.ndarray) -> np.ndarray:
    """(rounds, B, C) logits that tastes have moved by the end of each round; (rounds, B, 0) where
    they stay.
    """
    there = Place(run, f"twin-{arm}", (arm,))
    files = sorted(there.taste(0, 0).parent.glob("*.safetensors"))
    if not files:
        return np.zeros((experiment.rounds, len(ids), 0), np.float32)
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for file in files:
        found.setdefault(file.name[:3], []).append(load_arrays(file))
    rounds = []
    for _, shards in sorted(found.items()):
        user = np.concatenate([shard["user"] for shard in shards])
        moved = np.concatenate([shard["moved"] for shard in shards])
        rounds.append(moved[pd.Series(np.arange(len(user)), user)[ids].to_numpy()])
    return np.stack(rounds)
