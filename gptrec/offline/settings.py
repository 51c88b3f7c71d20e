"""The settings of an offline evaluation; nothing heavy is imported to read them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from policies.common.settings import names, setting, settings

MODELS = ("popularity", "itemknn", "bprmf", "gru4rec", "bert4rec", "sasrec", "gptrec")
Names = Annotated[tuple[str, ...], BeforeValidator(names)]


@settings
class Evaluation:
    """Which models are compared, on what, and how long they are trained."""

    data: str | None = setting(
        None,
        'a .txt of "user item item ..." lines, or any log of simulator.run (kuairand:DIR,'
        " events.csv, ...)",
    )
    columns: str | None = setting(
        None, "for an event table: user=...,item=...,time=... and click=... or rating=..."
    )
    click_threshold: float | None = setting(None, "a rating of at least this counts as a click")
    click_when: str | None = setting(
        None, "COLUMN=WORD,WORD: rows with one of these words are clicks"
    )
    time_unit: Literal["ns", "us", "ms", "s", "min", "h", "d"] | None = setting(
        None, "of numbers in the time column (default: found out)"
    )
    models: Names = setting(MODELS, "names or module:Class with commas between")
    seeds: int = setting(5, "training runs per model", ge=1)
    budget: str = setting("2m", "training time per network and seed: 90s, 2m, 10m")
    steps: int | None = setting(
        None, "training steps per network instead of a budget of time", ge=1
    )
    protocol: Literal["leave-one-out", "impressions"] = setting(
        "leave-one-out",
        "impressions: which later rows are clicked (seen long, liked) when they are shown, by"
        " models that foretell answers; trained as in the simulator",
    )
    since: str | None = setting(
        None, "impressions: rows from this date on (UTC) are held out, such as 2022-05-01"
    )
    held_out: float = setting(
        0.2, "impressions: share of the rows that is held out, the last ones", gt=0, lt=1
    )
    ablate: Names = setting(
        (), "also gptrec without: user, prompts, interests (with commas between)"
    )
    settings: Path | None = setting(None, "settings per model, best.json of a tuning")
    trials: int = setting(12, "tune: configurations per network", ge=1)
    jobs: int = setting(
        1,
        "trainings at a time, each on its share of the cores; two on two cores end sooner than one"
        " by one, though each takes longer than the budget, which is timed alone",
        ge=1,
    )
