"""Fitted users on disk: arrays as safetensors, numbers and provenance as JSON."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from policies.common.errors import InputError
from policies.common.files import load_arrays, reading, save_arrays, save_json
from policies.log import Dataset
from simulator.users.choice_model import ChoiceModel, Parameter
from simulator.users.strangers import Strangers

USERS = 5  # of fitted users
USERS_FILES = ("parameters.json", "arrays.safetensors")
NEEDED = (
    "shift",
    "selection",
    "satiation",
    "satiation_half_life_h",
    "repeat_fatigue",
    "leave",
    "leave_first_page",
    "leave_satisfaction",
    "satisfaction_reference",
    "gap_short_share",
    "gap_short_mean",
    "gap_short_sd",
    "gap_long_mean",
    "gap_long_sd",
    "return_satisfaction",
    "churn",
    "long_view",
    "long_view_appeal",
    "like",
    "like_appeal",
    "hate",
    "hate_appeal",
)


def save_users(
    folder: Path, model: ChoiceModel | Strangers, about: dict[str, Any] | None = None
) -> None:
    """The fitted users: arrays as safetensors, numbers and provenance as JSON, with what they were
    fitted on.
    """
    if isinstance(model, Strangers):
        _save_strangers(folder, model, about or {})
        return
    arrays = (
        "user_level",
        "activity",
        "user_taste",
        "item_level",
        "item_taste",
        "user_long_view",
        "item_long_view",
        "user_like",
        "item_like",
        "user_hate",
        "item_hate",
        "category",
        "duration",
        "examination",
        "hours",
    )
    kept = {name: getattr(model, name) for name in arrays}
    kept |= {
        name: value
        for name in ("table", "user_category", "log_users", "item_near", "last_chosen")
        if (value := getattr(model, name)) is not None
    }
    save_arrays(folder / "arrays.safetensors", kept)
    parameters = {name: asdict(number) for name, number in sorted(model.parameters.items())}
    save_json(
        folder / "parameters.json",
        {
            "format": USERS,
            "numbers": parameters,
            "arrays": model.provenance,
            "hour_zero": model.hour_zero,
            "log_size": model.log_size,
            "dynamics": model.dynamics,
            "mixing": model.mixing,
            "about": about or {},
        },
    )


def about_users(raw: Dataset, slate_size: int, clock: str = "log") -> dict[str, Any]:
    """What fitted users are of, and must be used with.

    Args:
        clock: `log`, or `run` where time 0 was moved to the start of a test.
    """
    ids = hashlib.sha256("\n".join([*raw.user_ids, "", *raw.catalogue.ids]).encode()).hexdigest()
    return {
        "log": raw.name,
        "rows": len(raw.log),
        "users": raw.n_users,
        "items": raw.catalogue.size,
        "ids": ids,
        "checksum": raw.fingerprint,
        "categories": hashlib.sha256(raw.catalogue.category.tobytes()).hexdigest(),
        "has": sorted(raw.has),
        "slate_size": slate_size,
        "clock": clock,
    }


def _save_strangers(folder: Path, model: Strangers, about: dict[str, Any]) -> None:
    """Users of somebody else: whose they are, and what they have learned."""
    learned = {f"learned.{name}": array for name, array in model.learned_arrays().items()}
    save_arrays(folder / "arrays.safetensors", {"rows": model.rows, **learned})
    save_json(
        folder / "parameters.json",
        {
            "format": USERS,
            "user_model": model.name,
            "level": model.level,
            "tells": sorted(model.tells),
            "numbers": model.numbers(),
            "arrays": {},
            "about": about,
        },
    )


def load_users(folder: Path, wanted: dict[str, Any] | None = None) -> ChoiceModel:
    """As `stored_users`, but fitted ones alone."""
    users = stored_users(folder, wanted)
    if isinstance(users, Strangers):
        raise InputError(
            f"'{folder}' holds users of {users.name}, and users that were fitted are wanted"
        )
    return users


def stored_users(folder: Path, wanted: dict[str, Any] | None = None) -> ChoiceModel | Strangers:
    """The users that `save_users` wrote.

    Args:
        wanted: of `about_users`, what they must be of; None = not looked at.
    """
    path = folder / "parameters.json"
    if not path.is_file():
        raise InputError(
            f"'{folder}' holds no fitted users; make some with python -m simulator.fit"
        )
    with reading(path, "fit again"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.get("format") != USERS:
            raise InputError(
                f"'{folder}' holds users of format {stored.get('format')}, this version reads"
                f" {USERS}; fit again"
            )
        if "user_model" in stored and wanted is not None:
            raise InputError(
                f"'{folder}' holds users of {stored['user_model']}; name them with --user-model"
                f" {stored['user_model']} in place of their folder"
            )
        _refuse_others(folder, stored.get("about", {}), wanted or {})
        if "user_model" in stored:
            arrays = load_arrays(folder / "arrays.safetensors")
            learned = {
                name.removeprefix("learned."): array
                for name, array in arrays.items()
                if name != "rows"
            }
            return Strangers.restored(
                stored["user_model"], learned, stored["level"], arrays["rows"]
            )
        parameters = {name: Parameter(**number) for name, number in stored["numbers"].items()}
        missing = [name for name in NEEDED if name not in parameters]
        if missing:
            raise InputError(f"'{path}' lacks {', '.join(missing)}; fit again")
        provenance = {name: (status, source) for name, (status, source) in stored["arrays"].items()}
        arrays = load_arrays(folder / "arrays.safetensors")
        model = ChoiceModel(
            parameters=parameters,
            provenance=provenance,
            hour_zero=float(stored["hour_zero"]),
            log_size=stored.get("log_size"),
            dynamics=stored.get("dynamics", "unexpected"),
            mixing=stored.get("mixing"),
            **arrays,
        )
        _check_arrays(folder, parameters, arrays)
    return model


def _refuse_others(folder: Path, of: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises InputError where the users are of something else."""
    differs = [name for name, value in wanted.items() if of.get(name) != value]
    if differs == ["slate_size"]:
        raise InputError(
            f"the users in '{folder}' were fitted for slates of {of.get('slate_size')}, not of"
            f" {wanted['slate_size']}; say --slate-size {of.get('slate_size')}, or fit again"
        )
    if differs:
        known = ", ".join(
            f"{name} {of.get(name)}"
            for name in differs
            if name not in ("ids", "checksum", "categories")
        )
        raise InputError(
            f"the users in '{folder}' were fitted on something else"
            f" ({known or 'other ids, times, clicks or categories'}); fit again with the same"
            " --log, --columns, --click-threshold and --slate-size"
        )


def _check_arrays(
    folder: Path, parameters: dict[str, Parameter], arrays: dict[str, np.ndarray]
) -> None:
    """Raises InputError where an array is too short, or holds what is not a number."""
    n_users, n_items = len(arrays["user_level"]), len(arrays["item_level"])
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(
                f"'{folder / 'arrays.safetensors'}': {name} holds values that are not finite; fit"
                " again"
            )
        of_users, of_items = (
            name.startswith("user_") or name in ("activity", "log_users", "last_chosen"),
            name.startswith("item_"),
        )
        wanted = (
            n_users
            if of_users
            else n_items
            if of_items or name in ("category", "duration")
            else len(array)
        )
        if len(array) != wanted:
            raise InputError(
                f"'{folder / 'arrays.safetensors'}': {name} has {len(array)} rows, not {wanted};"
                " fit again"
            )
    for name, number in parameters.items():
        if not np.isfinite(number.value):
            raise InputError(f"'{folder / 'parameters.json'}': {name} is {number.value}; fit again")
