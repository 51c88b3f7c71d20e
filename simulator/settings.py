"""The settings of an experiment: each described once, read from TOML, flags and `--set`."""

import argparse
import dataclasses
from functools import cached_property
from os import PathLike
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from policies.common.errors import InputError, suggestion
from policies.common.settings import (
    add_flags,
    given_flags,
    names,
    pairs_of,
    read_toml,
    refuse_unknown,
    setting,
    settings,
)
from policies.registry import asks_for_truth, base_name, find, is_reference, settings_for
from policies.sources.frames import hold, is_frame
from simulator.buckets import Assignment, parse_weights
from simulator.users.strangers import is_stranger

# settings of an arm that the engine keeps, not the policy
ARM_SETTINGS = ("repeat", "learn_from")


Names = Annotated[tuple[str, ...], BeforeValidator(names)]
LearnFrom = Literal["own", "all", "none", "open", "outside", "thinned"]


def _text(value: Any) -> Any:
    """As a flag has it: {"user": "uid"} is user=uid, [.5, .5] is 0.5,0.5."""
    if isinstance(value, dict):
        return ",".join(f"{_word(key)}={_word(part)}" for key, part in value.items())
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 1:
        return ",".join(_word(part) for part in value)
    return value if value is None else str(value)


def _word(part: object) -> str:
    word = str(part)
    if part is None:
        raise ValueError("a part of it is None; leave that part out")
    if "," in word or "=" in word:
        raise ValueError(f"'{word}' holds a comma or an equals sign; rename it")
    return word


def _log(value: Any) -> Any:
    """A path or a data frame."""
    if is_frame(value):
        return hold(value)
    if value is not None and not isinstance(value, str | PathLike):
        kind = type(value).__name__
        raise ValueError(f"wanted a path or a data frame (pandas, Polars, Arrow), not a {kind}")
    return _text(value)


Text = Annotated[str, BeforeValidator(_text)]
Log = Annotated[str, BeforeValidator(_log)]


@settings
class Experiment:
    """Everything that decides an experiment's result.

    `python -m simulator.run --settings` and docs/settings.md list every setting with its default,
    bounds and meaning. Unknown or impossible settings raise InputError.
    """

    policies: Names = setting(
        ("gptrec", "sasrec"),
        "arms, in order: popularity, level, thompson, itemknn, bprmf, ranker, gru4rec, bert4rec,"
        " sasrec, gptrec, module:Class; references uniform and oracle; two arms of one policy are"
        " written sasrec,sasrec.2",
    )
    log: Log = setting(
        "world:",
        "world: or world:SEED (built in), kuairand:DIR, movietweetings:DIR, movielens:DIR, or a"
        " .csv .tsv .inter .jsonl (also .gz) .parquet file, u.data, ratings.dat, or a .txt of lines"
        " user item item ...",
    )
    columns: Text | None = setting(
        None,
        "for a file: user=...,item=...,time=... and click=... or rating=..., also session, slot,"
        " watch, like, category, ...; columns that nobody names are not read (default: by the usual"
        " names)",
    )
    click_threshold: float | None = setting(
        None,
        "a rating (or value of the click column) of at least this counts as a click; needed with"
        " rating=",
    )
    click_when: Text | None = setting(
        None,
        "COLUMN=WORD,WORD such as event=buy,addtocart: rows with one of these words are clicks, all"
        " others are not",
    )
    time_unit: Literal["ns", "us", "ms", "s", "min", "h", "d"] | None = setting(
        None,
        "of numbers in the time column (default: found out, or refused where two may be meant)",
    )
    watch_unit: Literal["s", "ms"] | None = setting(
        None, "of watch times (default: found out, or refused where two may be meant)"
    )
    calibrate: Text | None = setting(
        None,
        "levels that the log cannot tell: random_click_rate=.176,pages_per_session=13.55,"
        "sessions_per_day=4.84, ...",
    )
    users_from: Text | None = setting(
        None, "folder of users that simulator.fit stored for this log; by default they are fitted"
    )
    user_model: Text = setting(
        "factors",
        "what makes users like things: factors (matrix factorisation), shrunk (the same, but items"
        " with fewer than 20 rows are as good as the others of their category), neighbours (similar"
        " items), trees, or matrix, which replays a log that holds nearly every pair; or"
        " module:Class, users of your own (simulator/users/base.py)",
    )
    fit_users: int | None = setting(
        None,
        "users of the log that the user model is fitted to, drawn by the seed; by default all, or"
        " as many as have 5 million rows (at least `users`)",
        ge=2,
    )
    policy_share: float | None = setting(
        None,
        "share of the log's pairs that policies learn from; by default all, and a tenth where users"
        " replay a matrix: who has seen the matrix has seen the truth",
        flag=False,
        gt=0,
        le=1,
    )
    users: int = setting(
        2000, "simulated users, drawn from the fitted ones; beyond their number, newcomers", ge=2
    )
    new_users: float | None = setting(
        None,
        "users who come for the first time, per day, as a share of `users`; by default as the log"
        " says",
        flag=False,
        ge=0,
        lt=1,
    )
    new_items: float | None = setting(
        None,
        "items that appear per day, as a share of the catalogue; by default as the log says",
        flag=False,
        ge=0,
        lt=1,
    )
    gone_items: float | None = setting(
        None,
        "items that are withdrawn per day, as a share of the catalogue; by default as the log says",
        flag=False,
        ge=0,
        lt=1,
    )
    taste_dynamics: Literal["none", "unexpected", "reinforced", "exposure"] | None = setting(
        None,
        "what moves a user's taste for a category: unexpected clicks (no policy moves it on"
        " average), reinforced (a click adds, an item looked at and skipped takes), exposure (each"
        " item looked at adds), or none; by default as the log says: unexpected, as far as it can"
        " be told",
        flag=False,
    )
    taste_strength: float | None = setting(
        None,
        "logits that each of them moves, with taste_dynamics",
        flag=False,
        ge=-5,
        le=5,
    )
    taste_half_life_d: float = setting(
        7.0, "days after which half of it is gone, with taste_dynamics", flag=False, gt=0, le=10_000
    )
    days: float = setting(7.0, "length of the test in days", gt=0, lt=10_000)
    warmup_days: float = setting(
        3.0, "days before the test in which one policy serves everybody", ge=0, lt=1000
    )
    rounds: int = setting(
        3, "models per arm; the first learns from the log, the others from feedback", ge=1
    )
    slate_size: int = setting(6, "items per page", ge=1, le=100)
    seed: int = setting(
        0,
        "of population, training and chance; another built-in world is --log world:SEED",
        ge=0,
    )
    salt: Text | None = setting(None, "of the buckets; by default the seed", flag=False)
    control: Text | None = setting(
        None, "arm to compare against (default: the last one that is not a reference)"
    )
    weights: Text | None = setting(
        None,
        "share of users per arm, such as .1,.1; the rest is held out (default: equal shares)",
    )
    design: Literal["split", "twin"] = setting(
        "split", "split: each user in one arm; twin: each user meets every arm, in worlds apart"
    )
    truth: bool = setting(
        True, "with a split, also run a world per arm in which everybody gets that arm"
    )
    sensitivity: bool = setting(
        True,
        "from 300 users on: move what the log does not tell to the ends of its range, one number at"
        " a time, and say which one the verdict hangs on",
    )
    learn_from: LearnFrom = setting(
        "own",
        "what an arm retrains on: own rows, all rows, none; open: rows of the same users where its"
        " policy never retrains, outside: where slates are uniformly random, thinned: as open, but"
        " about as many clicks as outside (with equal_rows). --set ARM.learn_from for one arm",
    )
    equal_rows: bool = setting(
        False,
        "in twin worlds: in each round all ways to learn of a policy get as many pages of each"
        " user, the fewest of its own world, the frozen one and the random one",
        flag=False,
    )
    warmup_policy: Text = setting("popularity", "who serves before the test", flag=False)
    training_delay_hours: float = setting(
        2.0, "from reading the log to deploying the new model", flag=False, ge=0
    )
    batch_hours: float = setting(
        24.0,
        "users are served in batches of this much time; changes speed, never results",
        flag=False,
        gt=0,
        lt=10_000,
    )
    repeat_after: int = setting(
        50,
        "an item may come back after so many others; 0 = at once. The same for all arms, but for"
        " --set ARM.repeat=true",
        flag=False,
        ge=0,
    )
    primary: Text = setting(
        "clicks",
        "metric of the verdict: clicks, click_rate, watch_time, long_views, likes, hates, sessions,"
        " days_active",
    )
    assumed_metrics: bool = setting(
        False,
        "also judge the metrics that the log tells nothing of (likes on a log of clicks): there the"
        " users' answers are assumed",
        flag=False,
    )
    margin: float = setting(
        0.02, "non-inferiority margin of the guardrails, relative", flag=False, ge=0, lt=1
    )
    mde: float | None = setting(
        None, "smallest lift that matters: .02 is 2 % (default: the margin)", gt=0, le=10
    )
    monitor: Literal["obrien_fleming", "pocock", "cs", "none"] = setting(
        "obrien_fleming",
        "daily looks at the primary metric: obrien_fleming or pocock (error spending up to the"
        " planned end), cs (confidence sequence, open end) or none",
    )
    stop_early: bool = setting(
        False, "end the test on the first day on which every contender has crossed"
    )
    off_policy: bool = setting(
        False,
        "off-policy estimates of the contenders from the log of an arm with known propensities,"
        " such as uniform",
    )
    max_pages: int = setting(200, "a visit ends after so many pages", flag=False, ge=1)
    threads: int = setting(1, "of torch, in each process; sums depend on it", ge=1, le=1024)
    draws: int = setting(
        200,
        "draws of the users' levels that a fit keeps; rare answers keep three times as many",
        ge=4,
    )
    chains: int = setting(
        1,
        "chains of the sampler, which share the draws: several tell better whether they mix",
        ge=1,
    )
    thin: int = setting(8, "sweeps of the sampler per draw, at most", ge=1)
    record_truth: bool = setting(
        True, "also write appeal and true click probability of every impression", flag=False
    )
    policy_settings: dict[str, dict[str, Any]] = setting(
        {}, "arm -> setting -> value; --set ARM.KEY=VALUE, [policy.ARM] in TOML", flag=False
    )

    def check(self) -> None:
        """Raises InputError where settings cannot go together."""
        _check_arms(self)
        _check_users(self)
        _check_time(self)
        _check_design(self)
        _check_policy_settings(self)

    @cached_property
    def contenders(self) -> tuple[str, ...]:
        """The arms that are judged: all but the references.

        Where there are only references, those that do not ask for the truth.
        """
        judged = tuple(arm for arm in self.policies if not is_reference(arm))
        return judged or tuple(arm for arm in self.policies if not asks_for_truth(arm))

    @property
    def control_arm(self) -> str:
        return self.control if self.control is not None else self.contenders[-1]

    @property
    def references(self) -> dict[str, str]:
        """Arm -> why it is not judged."""
        return {
            arm: "sees the truth" if asks_for_truth(arm) else "reference"
            for arm in self.policies
            if arm not in self.contenders
        }

    @property
    def bucket_salt(self) -> str:
        return self.salt if self.salt is not None else str(self.seed)

    @cached_property
    def assignment(self) -> Assignment:
        """How users are split between the arms."""
        weights = parse_weights(self.weights, len(self.policies))
        return Assignment(self.policies, weights, self.bucket_salt)

    @property
    def round_seconds(self) -> float:
        return self.days * 86_400 / self.rounds

    def settings_for(self, arm: str) -> dict[str, Any]:
        """The policy settings of an arm, those of its base policy included, without what the
        engine keeps.
        """
        return {key: x for key, x in self._merged(arm).items() if key not in ARM_SETTINGS}

    def repeats(self, arm: str) -> bool:
        """Whether this arm may show again at once what a user has just seen."""
        value = self._merged(arm).get("repeat", False)
        try:
            return TypeAdapter(bool).validate_python(value)
        except ValidationError:
            raise InputError(f"--set {arm}.repeat wants true or false, not '{value}'") from None

    def learns_from(self, arm: str) -> str:
        """Whose rows this arm retrains on."""
        value = str(self._merged(arm).get("learn_from", self.learn_from))
        if value not in get_args(LearnFrom):
            raise InputError(
                f"--set {arm}.learn_from wants one of {', '.join(get_args(LearnFrom))}, not"
                f" '{value}'{suggestion(value, get_args(LearnFrom))}"
            )
        return value

    def _merged(self, arm: str) -> dict[str, Any]:
        return {
            **self.policy_settings.get(base_name(arm), {}),
            **self.policy_settings.get(arm, {}),
        }

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _check_arms(experiment: Experiment) -> None:
    arms = experiment.policies
    if not arms:
        raise InputError("--policies is empty; name at least one, such as gptrec,sasrec")
    twice = next((arm for arm in arms if arms.count(arm) > 1), None)
    if twice:
        raise InputError(f"--policies names '{twice}' twice; write the second one as {twice}.2")
    for arm in (*arms, experiment.warmup_policy):
        find(base_name(arm))
    if asks_for_truth(experiment.warmup_policy):
        raise InputError(
            f"warmup_policy cannot be '{experiment.warmup_policy}': before the test nobody knows"
            " the truth"
        )
    if not experiment.contenders:
        raise InputError(
            f"--policies {','.join(arms)}: all of them ask for the truth, and such references are"
            " not judged; add one that does not, such as popularity"
        )
    for arm in arms:
        experiment.repeats(arm)
        experiment.learns_from(arm)


USER_MODELS = ("factors", "shrunk", "neighbours", "trees", "matrix")


def _check_users(experiment: Experiment) -> None:
    kind = experiment.user_model
    if kind in USER_MODELS:
        return
    if not is_stranger(kind):
        raise InputError(f"user_model '{kind}' is unknown{suggestion(kind, USER_MODELS)}")
    wrong = [
        name
        for name in ("taste_dynamics", "fit_users", "policy_share", "new_items")
        if getattr(experiment, name)
    ]
    if wrong:
        raise InputError(
            f"{wrong[0]} is for users that are fitted; those of --user-model {kind} are somebody"
            " else's"
        )


def _check_time(experiment: Experiment) -> None:
    delay = experiment.training_delay_hours
    if experiment.rounds > 1 and delay * 3600 >= experiment.round_seconds:
        raise InputError(
            f"a round of {experiment.round_seconds / 3600:.3g} h is not longer than the training"
            f" delay of {delay:g} h; use fewer rounds, more days or a shorter training_delay_hours"
        )


def _check_design(experiment: Experiment) -> None:
    """Settings that do not go together."""
    moves = experiment.taste_dynamics not in (None, "none")
    if moves != (experiment.taste_strength is not None):
        raise InputError(
            f"taste_dynamics={experiment.taste_dynamics} wants a strength: --set taste_strength=.05"
            " moves a category by .05 logits at a time"
            if moves
            else "taste_strength is for --set taste_dynamics=unexpected, reinforced or exposure"
        )
    if not moves and experiment.taste_half_life_d != Experiment.taste_half_life_d:
        raise InputError(
            "taste_half_life_d is for --set taste_dynamics=unexpected, reinforced or exposure"
        )
    twin, contenders = experiment.design == "twin", experiment.contenders
    _ = experiment.assignment  # weights that cannot be parsed are refused
    if experiment.stop_early and experiment.monitor == "none":
        raise InputError("--stop-early wants looks; name a --monitor: obrien_fleming, pocock or cs")
    if experiment.off_policy and twin:
        raise InputError(
            "--off-policy is for --design split: a twin run knows what each arm gets from every"
            " user"
        )
    if experiment.stop_early and (twin or len(contenders) < 2):
        raise InputError("--stop-early is for a split between two or more contenders")
    if twin and experiment.weights is not None:
        raise InputError(
            "--weights is for --design split: in a twin run every user meets every arm"
        )
    if experiment.equal_rows and not twin:
        raise InputError("equal_rows is for --design twin, where every way to learn has a world")
    ways = {arm: experiment.learns_from(arm) for arm in experiment.policies}
    if twin and "all" in ways.values() and "own" not in ways.values():
        raise InputError(
            "learn_from=all in twin worlds takes a share from each arm that learns from its own"
            " rows, and there is none; name one, or use --design split"
        )
    if twin and "all" in ways.values() and not experiment.equal_rows:
        raise InputError(
            "learn_from=all in twin worlds takes equal shares: --set equal_rows=true (every world"
            " has all users, and together they have several times the rows of one)"
        )
    if "thinned" in ways.values() and not experiment.equal_rows:
        raise InputError(
            "learn_from=thinned takes as many clicks as random slates of the same users bring:"
            " --set equal_rows=true with --design twin"
        )
    if experiment.control is not None and experiment.control not in contenders:
        raise InputError(
            f"--control '{experiment.control}' is not a contender"
            f"{suggestion(experiment.control, contenders)}"
        )


def _never(updates: Any) -> bool:
    """Whether so many updates are none at all; what is no number is refused elsewhere."""
    try:
        return int(float(updates)) == 0
    except (TypeError, ValueError):
        return False


def _check_policy_settings(experiment: Experiment) -> None:
    arms = experiment.policies
    for arm, given in experiment.policy_settings.items():
        if arm not in (*arms, experiment.warmup_policy, *map(base_name, arms)):
            raise InputError(f"settings for '{arm}', which takes no part{suggestion(arm, arms)}")
        allowed = [*settings_for(find(base_name(arm))), *ARM_SETTINGS]
        for key in given:
            if key not in allowed:
                raise InputError(f"policy '{arm}' has no setting '{key}'{suggestion(key, allowed)}")
        if "learn_from" in given and _never(experiment._merged(arm).get("updates", -1)):
            raise InputError(
                f"--set {arm}.learn_from={given['learn_from']} beside updates=0: an arm that never"
                " retrains learns from nobody's feedback; leave one of them out"
            )


def build(file: str | None, flags: dict[str, Any], sets: list[str]) -> Experiment:
    """An experiment from a TOML file, then flags (None = not given), then `key=value` or
    `arm.key=value` pairs.
    """
    values: dict[str, Any] = {}
    arms: dict[str, dict[str, Any]] = {}
    for key, value in (read_toml(file) if file is not None else {}).items():
        if key == "policy" and isinstance(value, dict):
            wrong = next((arm for arm, given in value.items() if not isinstance(given, dict)), None)
            if wrong is not None:
                raise InputError(f"[policy] {wrong} = ...: write a table [policy.{wrong}]")
            arms |= {arm: dict(given) for arm, given in value.items()}
        else:
            values[key.replace("-", "_")] = value
    values |= {key: value for key, value in flags.items() if value is not None}
    for key, value in pairs_of(sets):
        if "." in key:
            arm, _, name = key.rpartition(".")
            arms.setdefault(arm, {})[name] = value
        else:
            values[key.replace("-", "_")] = value
    if "policy_settings" in values:
        raise InputError("unknown setting 'policy_settings'; say --set ARM.KEY=VALUE")
    refuse_unknown(Experiment, values)
    return Experiment(**values, policy_settings=arms)


def from_dict(stored: dict[str, Any]) -> Experiment:
    """The experiment that a manifest holds."""
    return Experiment(**stored)


LOG_FLAGS = (
    "log",
    "columns",
    "click_threshold",
    "click_when",
    "time_unit",
    "watch_unit",
    "calibrate",
)


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say which log, for every command that reads one."""
    add_flags(parser, Experiment, LOG_FLAGS)


def log_settings(given: argparse.Namespace) -> dict[str, Any]:
    """Those flags as settings of an `Experiment`."""
    return {k: v for k, v in given_flags(Experiment, given).items() if k in LOG_FLAGS}
