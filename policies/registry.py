"""Policies by name. The registry is a dict of strings; entry points of the group `gptrec.policies`
extend it.
"""

import dataclasses
import math
import operator
from functools import cache
from importlib.metadata import entry_points
from typing import Any, cast

from policies.base import Policy
from policies.calls import made
from policies.common.errors import InputError, shown, suggestion
from policies.common.settings import BOUNDS
from policies.common.strange import imported
from policies.exploring import SETTINGS as OF_ANY
from policies.exploring import Arm

BUILT_IN = {
    "uniform": "policies.baselines.uniform:Uniform",
    "popularity": "policies.baselines.popularity:Popularity",
    "level": "policies.baselines.level:Level",
    "thompson": "policies.baselines.thompson:Thompson",
    "ranker": "policies.baselines.ranker:Ranker",
    "itemknn": "policies.baselines.itemknn:ItemKNN",
    "bprmf": "policies.baselines.bprmf:BPRMF",
    "gru4rec": "policies.baselines.gru4rec:GRU4Rec",
    "bert4rec": "policies.baselines.bert4rec:BERT4Rec",
    "sasrec": "policies.baselines.sasrec:SASRec",
    "gptrec": "gptrec.policy:GPTRec",
    "oracle": "simulator.engine.oracle:Oracle",
}
REFERENCES = frozenset({"uniform"})  # besides those that ask for the truth
_METHODS = ("fit", "update", "recommend", "state", "restore")


def known() -> dict[str, str]:
    """Every name that can be asked for -> "module:Class"."""
    return {**_of_entry_points(), **BUILT_IN}


@cache
def _of_entry_points() -> dict[str, str]:
    """Read once: it looks into every installed package."""
    return {point.name: point.value for point in entry_points(group="gptrec.policies")}


def base_name(arm: str) -> str:
    """The policy behind an arm: two arms of one policy are told apart as `sasrec` and
    `sasrec.2`.
    """
    stem, dot, number = arm.rpartition(".")
    return stem if dot and number.isdigit() and ":" not in number else arm


def asks_for_truth(arm: str) -> bool:
    """Whether the policy behind an arm is handed the truth of the simulation (`NeedsTruth`)."""
    return callable(getattr(find(base_name(arm)), "see_truth", None))


def is_reference(arm: str) -> bool:
    """Whether an arm is there to compare with, and not to be judged."""
    return base_name(arm) in REFERENCES or asks_for_truth(arm)


def find(name: str) -> type:
    """The class behind a name of the registry or `module:Class`.

    Raises:
        InputError: there is no such name, module or class, or the class is not a policy.
    """
    target = known().get(name, name)
    module_name, colon, class_name = target.partition(":")
    if not colon:
        raise InputError(
            f"unknown policy '{shown(name)}'{suggestion(name, known())}; one of your own is"
            " module:Class"
        )
    if "/" in module_name or module_name.endswith(".py"):
        wanted = module_name.removesuffix(".py").removeprefix("./").replace("/", ".")
        if module_name.startswith(("/", "..")):  # from elsewhere: its folder is not known
            wanted = wanted.rpartition(".")[2] or "my_module"
        raise InputError(
            f"policy '{shown(name)}': wanted a module and no file: {shown(wanted)}:{class_name},"
            " from the folder in which Python finds it"
        )
    module = imported(f"policy '{shown(name)}'", module_name)
    policy_class = getattr(module, class_name, None)
    if not isinstance(policy_class, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise InputError(
            f"policy '{name}': '{module_name}' has no class"
            f" '{class_name}'{suggestion(class_name, classes)}"
        )
    missing = [method for method in _METHODS if not callable(getattr(policy_class, method, None))]
    if missing:
        raise InputError(
            f"policy '{name}' is not a policy: it lacks {', '.join(missing)}; see policies/base.py"
        )
    return policy_class


def settings_of(kind: type) -> dict[str, Any]:
    """The settings of a policy class with their defaults: its public dataclass fields."""
    if not dataclasses.is_dataclass(kind):
        return {}
    return {
        f.name: f.default if f.default is not dataclasses.MISSING else None
        for f in dataclasses.fields(kind)
        if not f.name.startswith("_") and f.init
    }


def make(name: str, settings: dict[str, Any] | None = None) -> Policy:
    """A fresh policy with these settings; an unknown setting is refused and the nearest
    one named.
    """
    kind = find(name)
    own, allowed = settings_of(kind), settings_for(kind)
    converted, of_arm = {}, {}
    for key, value in (settings or {}).items():
        if key not in allowed:
            raise InputError(f"policy '{name}' has no setting '{key}'{suggestion(key, allowed)}")
        value = _convert(name, key, value, allowed[key])
        if key in own:
            bounds = next(f.metadata for f in dataclasses.fields(kind) if f.name == key)
            _check_bounds(name, key, value, bounds.get("bounds", {}))
            converted[key] = value
        else:
            _, least, most = OF_ANY[key]
            _check_bounds(name, key, value, {"ge": least, "le": most})
            of_arm[key] = value
    policy = made(name, lambda: kind(**converted))
    if any(value != OF_ANY[key][0] for key, value in of_arm.items()):
        return cast(Policy, Arm(policy, **of_arm))
    return policy


def settings_for(kind: type) -> dict[str, Any]:
    """The settings of a policy class with their defaults, those that any policy may have
    included.
    """
    return {key: default for key, (default, _, _) in OF_ANY.items()} | settings_of(kind)


def _check_bounds(name: str, key: str, value: Any, bounds: dict[str, float]) -> None:
    """Raises InputError where a setting is not finite, or outside of what its field says."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if not math.isfinite(value):
        raise InputError(f"setting '{name}.{key}' wants a finite number, not {value}")
    if not all(_HOLDS[sign](value, limit) for sign, limit in bounds.items()):
        wanted = ", ".join(f"{BOUNDS[sign]} {limit:g}" for sign, limit in bounds.items())
        raise InputError(f"setting '{name}.{key}' must be {wanted}, not {value:g}")


_HOLDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


def _convert(name: str, key: str, value: Any, default: Any) -> Any:
    """`value` as the type of the default, so that `--set sasrec.width=64` gives a number."""
    try:
        if isinstance(default, bool):
            if str(value).lower() not in ("true", "false", "1", "0"):
                raise ValueError
            return str(value).lower() in ("true", "1")
        if isinstance(default, int):
            number = float(value)
            if not number.is_integer():
                raise ValueError
            return int(number)
        if isinstance(default, float):
            return float(value)
        return value
    except (TypeError, ValueError, OverflowError):
        wanted = type(default).__name__
        raise InputError(f"setting '{name}.{key}' wants {wanted}, not '{value}'") from None
