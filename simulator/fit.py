"""From a log to users: every parameter estimated where the log can tell, assumed with its source
where it cannot.

python -m simulator.fit --log kuairand:DIR --out users
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from policies.common.arguments import Parser
from policies.common.errors import InputError
from policies.common.settings import default_of
from policies.common.tables import Table
from policies.log import Dataset
from simulator.commands import PrintResult, add_fit_flags, with_a_fit
from simulator.settings import Experiment

# -- the command -----------------------------------------------------------------------------------
SLATE_SIZE: int = default_of(Experiment, "slate_size")


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m simulator.fit",
        description=(
            "Fit simulated users to a log once, say of every parameter whether it was estimated or"
            " assumed, and store them for simulator.run --users-from."
        ),
        epilog=(
            "Examples:\n  python -m simulator.fit --log kuairand:DIR --out users\n  python -m"
            " simulator.fit --log events.csv --columns user=uid,item=iid,time=ts,click=clicked"
            " --out users"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_fit_flags(p, "users", "the users", SLATE_SIZE)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted."""
    given = parser().parse_args(arguments)

    def work(
        experiment: Experiment, data: Dataset, out: Path, say: Callable[[str], None]
    ) -> PrintResult:
        from simulator.experiment.data import size_note  # late: who asks for help does not wait
        from simulator.fitting.fit_users import chains_of, fit_users
        from simulator.population.sampling import fit_sample, sample_note
        from simulator.users.provenance import provenance
        from simulator.users.storage import about_users, save_users
        from simulator.users.strangers import is_stranger

        if is_stranger(experiment.user_model):
            raise InputError(
                f"--user-model {experiment.user_model}: users of somebody else are not fitted; give"
                " them to simulator.run or simulator.validate"
            )
        some = fit_sample(data, experiment)
        model = fit_users(
            some.data,
            experiment.seed,
            experiment.slate_size,
            say,
            experiment.user_model,
            chains_of(experiment),
        )
        save_users(out, some.of_log(model), about_users(data, experiment.slate_size))

        def print_result() -> None:
            head = ("parameter", "value", "s.e.", "status", "source")
            Table(head, provenance(model), text=5).print()
            notes = *size_note(experiment, data), *sample_note(data, experiment)
            for note in (*data.notes, *notes):
                print(f"note: {note}")
            print(
                f"users: {out}; use them with python -m simulator.run --log ... --users-from {out}"
            )

        return print_result

    return with_a_fit(given, SLATE_SIZE, work)


if __name__ == "__main__":
    sys.exit(main())
