"""The settings of an experiment: defaults, then a TOML file, then flags."""

import argparse
import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policies.common.errors import InputError, suggestion
from policies.registry import REFERENCES, base_name, find, settings_of
from simulator.buckets import parse_weights

CHOICES = {
    "user_model": ("factors", "neighbours", "trees", "matrix"),
    "design": ("split", "twin"),
    "learn_from": ("own", "all", "none"),
    "monitor": ("obrien_fleming", "pocock", "cs", "none"),
}
_ARM_SETTINGS = ("repeat",)  # settings of an arm that the engine keeps, not the policy


@dataclass(frozen=True)
class Experiment:
    """Everything that decides an experiment's result. Unknown or impossible settings raise
    InputError.

    Attributes:
        policies: arms in order; two arms of one policy are written `sasrec,sasrec.2`.
        log: `world:`, `kuairand:DIR`, `movietweetings:DIR`, `movielens:DIR` or an event table.
        columns: role=column pairs for an event table.
        click_threshold: a rating (or value of the click column) of at least this is a click.
        users_from: folder of users that `simulator.fit` stored for this log; None = fit them.
        user_model: what makes users like things: factors, neighbours or trees; or matrix, which
            replays a log that holds (nearly) every pair of a user and an item.
        policy_share: share of the log's pairs that policies learn from; the rest is unknown to
            them. By default all, and a tenth where users replay a matrix: who has seen the matrix
            has seen the truth.
        calibrate: levels that the log cannot tell, such as
            `random_click_rate=.176,pages_per_session=13.55`.
        users: size of the simulated population, drawn from the fitted one.
        new_users: how many more come for the first time, per day, as a share of `users`. new_items,
            gone_items: items that appear and that are withdrawn, whole days after the start, per
            day, as shares of the catalogue. By default what the log says.
        days: length of the test. warmup_days: before it, one policy serves everybody.
        rounds: models per arm: the first is trained on the log, the others on feedback.
        slate_size: items per page.
        seed: of everything but the buckets. salt: of the buckets; by default the seed.
        control: arm to compare against; by default the last one that is no reference.
        weights: share of users per arm; the rest is held out. Equal shares of everybody by default.
        design: `split` (each user in one arm) or `twin` (each user meets every arm, in worlds of
            their own).
        truth: with a split, add one world per arm in which everybody gets that arm.
        learn_from: what an arm retrains on: its `own` bucket's rows, `all` rows, or `none`.
        warmup_policy: who serves before the test.
        training_delay_hours: from reading the log to deploying the new model.
        batch_hours: users are served in batches of this much time; changes speed, never results.
        repeat_after: an item may come back after so many others; 0 = at once. The same for all
            arms, but for `--set ARM.repeat=true`.
        primary: the metric that decides the verdict.
        margin: non-inferiority margin of the guardrails, relative.
        monitor: how the primary metric is looked at every day: `obrien_fleming` or `pocock` (error
            spending up to the planned end), `cs` (confidence sequence, open end) or `none`.
            stop_early: the test ends on the first day on which every contender has crossed.
        off_policy: where an arm states its propensities, also ask the contenders what they would
            have shown in its place, for off-policy estimates beside the test's.
        max_pages: a visit ends after so many pages.
        threads: of torch; part of the settings because sums depend on it.
        record_truth: also write appeal and true click probability of every impression.
        policy_settings: arm -> setting -> value.
    """

    policies: tuple[str, ...] = ("gptrec", "sasrec")
    log: str = "world:"
    columns: str | None = None
    click_threshold: float | None = None
    calibrate: str | None = None
    users_from: str | None = None
    user_model: str = "factors"
    policy_share: float | None = None
    users: int = 2000
    new_users: float | None = None
    new_items: float | None = None
    gone_items: float | None = None
    days: float = 7.0
    warmup_days: float = 3.0
    rounds: int = 3
    slate_size: int = 6
    seed: int = 0
    salt: str | None = None
    control: str | None = None
    weights: str | None = None
    design: str = "split"
    truth: bool = True
    learn_from: str = "own"
    warmup_policy: str = "popularity"
    training_delay_hours: float = 2.0
    batch_hours: float = 24.0
    repeat_after: int = 50
    primary: str = "clicks"
    margin: float = 0.02
    monitor: str = "obrien_fleming"
    stop_early: bool = False
    off_policy: bool = False
    max_pages: int = 200
    threads: int = 2
    record_truth: bool = True
    policy_settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def contenders(self) -> tuple[str, ...]:
        """The arms that are judged: all but the references."""
        kept = tuple(arm for arm in self.policies if base_name(arm) not in REFERENCES)
        return kept or self.policies

    @property
    def control_arm(self) -> str:
        return self.control if self.control is not None else self.contenders[-1]

    @property
    def bucket_salt(self) -> str:
        return self.salt if self.salt is not None else str(self.seed)

    @property
    def round_seconds(self) -> float:
        return self.days * 86_400 / self.rounds

    def settings_for(self, arm: str) -> dict[str, Any]:
        """The policy settings of an arm, those of its base policy included, without what the engine
        keeps.
        """
        merged = {
            **self.policy_settings.get(base_name(arm), {}),
            **self.policy_settings.get(arm, {}),
        }
        return {key: value for key, value in merged.items() if key not in _ARM_SETTINGS}

    def repeats(self, arm: str) -> bool:
        """Whether this arm may show again at once what a user has just seen."""
        merged = {
            **self.policy_settings.get(base_name(arm), {}),
            **self.policy_settings.get(arm, {}),
        }
        return bool(_convert(f"set {arm}.repeat", merged.get("repeat", False), "bool"))

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _check(e: Experiment) -> None:
    """Raises InputError at the first setting that cannot be."""
    if not e.policies:
        raise InputError("--policies is empty; name at least one, such as gptrec,sasrec")
    twice = next((arm for arm in e.policies if e.policies.count(arm) > 1), None)
    if twice:
        raise InputError(f"--policies names '{twice}' twice; write the second one as {twice}.2")
    for arm in (*e.policies, e.warmup_policy):
        if base_name(arm) != "oracle":
            find(base_name(arm))
    if base_name(e.warmup_policy) == "oracle":
        raise InputError("warmup_policy cannot be 'oracle': before the test nobody knows the truth")
    for name, least in (
        ("seed", 0),
        ("users", 2),
        ("rounds", 1),
        ("slate_size", 1),
        ("max_pages", 1),
        ("threads", 1),
        ("repeat_after", 0),
    ):
        if getattr(e, name) < least:
            raise InputError(
                f"--{name.replace('_', '-')} must be at least {least}, not {getattr(e, name)}"
            )
    if e.slate_size > 100:
        raise InputError(f"--slate-size must be at most 100, not {e.slate_size}")
    for name in ("days", "batch_hours"):
        if not 0 < getattr(e, name) < 10_000:
            raise InputError(
                f"--{name.replace('_', '-')} must be above 0, not {getattr(e, name):g}"
            )
    for name in ("new_users", "new_items", "gone_items"):
        if (share := getattr(e, name)) is not None and not 0 <= share < 1:
            raise InputError(f"{name} must be a share per day from 0 to below 1, not {share:g}")
    if not 0 <= e.warmup_days < 1000 or e.training_delay_hours < 0:
        raise InputError("warmup_days and training_delay_hours must not be negative")
    if e.rounds > 1 and e.training_delay_hours * 3600 >= e.round_seconds:
        hours = e.round_seconds / 3600
        raise InputError(
            f"a round of {hours:.3g} h is no longer than the training delay of"
            f" {e.training_delay_hours:g} h; use fewer rounds, more days or a shorter"
            " training_delay_hours"
        )
    for name, choices in CHOICES.items():
        if getattr(e, name) not in choices:
            raise InputError(
                f"--{name.replace('_', '-')}"
                f" '{getattr(e, name)}'{suggestion(getattr(e, name), choices)}"
            )
    parse_weights(e.weights, len(e.policies))
    _check_design(e)
    for arm in e.policies:
        e.repeats(arm)
    _check_policy_settings(e)


def _check_design(e: Experiment) -> None:
    """Settings that do not go together."""
    if e.policy_share is not None and not 0 < e.policy_share <= 1:
        raise InputError(
            f"--set policy_share wants a share above 0 and up to 1, not {e.policy_share:g}"
        )
    if e.stop_early and e.monitor == "none":
        raise InputError("--stop-early wants looks; name a --monitor: obrien_fleming, pocock or cs")
    if e.off_policy and e.design == "twin":
        raise InputError(
            "--off-policy is for --design split: a twin run knows what each arm gets from every"
            " user"
        )
    if e.stop_early and (e.design == "twin" or len(e.contenders) < 2):
        raise InputError("--stop-early is for a split between two or more contenders")
    if e.design == "twin" and e.weights is not None:
        raise InputError(
            "--weights is for --design split: in a twin run every user meets every arm"
        )
    if e.control is not None and e.control not in e.contenders:
        raise InputError(
            f"--control '{e.control}' is no contender{suggestion(e.control, e.contenders)}"
        )


def _check_policy_settings(e: Experiment) -> None:
    for arm, settings in e.policy_settings.items():
        allowed: list[str] = []
        if arm not in (*e.policies, e.warmup_policy, *map(base_name, e.policies)):
            raise InputError(
                f"settings for '{arm}', which takes no part{suggestion(arm, e.policies)}"
            )
        if base_name(arm) != "oracle":
            allowed = [*settings_of(find(base_name(arm))), *_ARM_SETTINGS]
        for key in settings:
            if key not in allowed:
                raise InputError(
                    f"policy '{arm}' has no setting '{key}'{suggestion(key, allowed or ['(none)'])}"
                )


def build(file: str | None, flags: dict[str, Any], sets: list[str]) -> Experiment:
    """An experiment from a TOML file, then flags (None = not given), then `key=value` or
    `arm.key=value` pairs.
    """
    values: dict[str, Any] = {}
    arms: dict[str, dict[str, Any]] = {}
    if file is not None:
        for key, value in _read_toml(file).items():
            if key == "policy" and isinstance(value, dict):
                arms.update({arm: dict(settings) for arm, settings in value.items()})
            else:
                values[key] = value
    values.update({key: value for key, value in flags.items() if value is not None})
    for pair in sets:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(
                f"--set '{pair}': wanted key=value, such as batch_hours=6 or sasrec.width=32"
            )
        if "." in key:
            arm, _, setting = key.rpartition(".")
            arms.setdefault(arm, {})[setting] = value
        else:
            values[key] = value
    known = {f.name: f for f in dataclasses.fields(Experiment) if f.name != "policy_settings"}
    converted = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise InputError(f"unknown setting '{key}'{suggestion(name, known)}")
        converted[name] = _convert(name, value, str(known[name].type))
    return Experiment(**converted, policy_settings=arms)


def _read_toml(file: str) -> dict[str, Any]:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no file '{path}' for --config")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config '{path}' is no TOML: {error}") from None


def _convert(name: str, value: Any, wanted: str) -> Any:
    """`value` as the field's type, named by `wanted` (the annotation)."""
    try:
        if wanted.startswith("tuple"):
            parts = value.split(",") if isinstance(value, str) else list(value)
            return tuple(str(part).strip() for part in parts if str(part).strip())
        if "str" in wanted:
            return str(value)
        if "bool" in wanted:
            if str(value).lower() not in ("true", "false", "1", "0", "yes", "no"):
                raise ValueError
            return str(value).lower() in ("true", "1", "yes")
        if "int" in wanted:
            number = float(value)
            if number != int(number):
                raise ValueError
            return int(number)
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError
        return number
    except (ValueError, TypeError, OverflowError):
        kind = next(word for word in ("int", "float", "bool", "tuple") if word in wanted)
        raise InputError(
            f"--{name.replace('_', '-')} wants {_KINDS[kind]}, not '{value}'"
        ) from None


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "names with commas between",
}


def from_dict(stored: dict[str, Any]) -> Experiment:
    """The experiment that a manifest holds."""
    values = dict(stored)
    values["policies"] = tuple(values["policies"])
    return Experiment(**values)


LOG_FLAGS = {
    "log": (
        "world: or world:SEED (built in), kuairand:DIR, movietweetings:DIR, movielens:DIR, or a"
        " .csv .tsv .parquet .inter file, or a .txt of lines user item item ..."
    ),
    "columns": (
        "for a file: user=...,item=...,time=... and click=... or rating=..., also session, slot,"
        " watch, like, category, ..."
    ),
    "click-threshold": (
        "a rating (or value of the click column) of at least this counts as a click; needed with"
        " rating="
    ),
    "calibrate": (
        "levels that the log cannot tell: random_click_rate=.176,pages_per_session=13.55,"
        "sessions_per_day=4.84, ..."
    ),
}


def add_log_flags(p: argparse.ArgumentParser) -> None:
    """The flags that say which log, for every command that reads one."""
    for flag, text in LOG_FLAGS.items():
        p.add_argument(f"--{flag}", help=text)


def log_settings(given: argparse.Namespace) -> dict[str, Any]:
    """Those flags as settings of an `Experiment`."""
    found = {name.replace("-", "_"): getattr(given, name.replace("-", "_")) for name in LOG_FLAGS}
    known = {f.name: str(f.type) for f in dataclasses.fields(Experiment)}
    return {
        name: _convert(name, value, known[name])
        for name, value in found.items()
        if value is not None
    }
