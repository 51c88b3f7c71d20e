"""Is the simulator to be believed? Users fitted on the early part of a log, held against its late
part.

    python -m simulator.validate --log kuairand:DIR --held-out-days 8

The users answer the very slates that the log shows after the cut; what they do is compared with
what happened. Where the log has whole sessions, their visits are simulated too and held against the
log's.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from policies.common.errors import InputError
from policies.common.files import save_json
from policies.log import Dataset
from simulator.commands import PrintResult, add_fit_flags, with_a_fit
from simulator.fitting.fit_users import chains_of
from simulator.population.sampling import fit_sample, sample_note
from simulator.settings import Experiment
from simulator.users.choice_model import DAY
from simulator.validation.report import (
    free_lights,
    held_out_lights,
    light_table,
    lights,
    of_random_slates,
    write,
)
from simulator.validation.validation import validate


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m simulator.validate",
        description=(
            "Fit users on the early part of a log and hold their answers to the late slates against"
            " what happened: rates, calibration, discrimination, spread over users and items,"
            " sessions and returns, each with a light that says what to trust."
        ),
        epilog=(
            "Example:\n  python -m simulator.validate --log kuairand:DIR --held-out-days 8 --out"
            " fidelity"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_fit_flags(p, "fidelity", "the report", None)
    p.add_argument(
        "--held-out-days",
        type=int,
        help="last calendar days to hold out (default: a third of the log)",
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted.

    A red light is a finding, not a failure.
    """
    given = parser().parse_args(arguments)
    began = time.monotonic()

    def work(
        experiment: Experiment, data: Dataset, out: Path, say: Callable[[str], None]
    ) -> PrintResult:
        notes = *data.notes, *sample_note(data, experiment)
        data = fit_sample(data, experiment).data
        days = _held_out_days(data, given.held_out_days)
        validation = validate(
            data, days, experiment.slate_size, say, experiment.user_model, chains_of(experiment)
        )
        about: dict[str, Any] = {
            "log": experiment.log,
            "held_out_days": days,
            "seed": experiment.seed,
            "slate_size": experiment.slate_size,
            "user_model": experiment.user_model,
            "seconds": round(time.monotonic() - began, 1),
        }
        save_json(out / "fidelity.json", about | validation.as_json())
        rows = [
            *lights(validation.feedback),
            *held_out_lights(validation.user_days, validation.ranking),
            *free_lights(validation.free),
        ]
        write(validation, rows, about, out)

        def print_result() -> None:
            print("what to trust")
            light_table(rows).print()
            print(of_random_slates(validation.random_slates))
            for note in notes:
                print(f"note: {note}")
            print(f"report: {out}/fidelity.md")

        return print_result

    return with_a_fit(given, None, work)


def _held_out_days(data: Dataset, given: int | None) -> int:
    """As given, or a third of the log."""
    span = float(data.log.time.max() - data.log.time.min()) / DAY
    days = max(1, round(span / 3)) if given is None else given
    if days < 1:
        raise InputError(f"--held-out-days must be at least 1, not {days}")
    return days


if __name__ == "__main__":
    sys.exit(main())
