"""The work of `python -m simulator.validate`, once its flags are read."""

import argparse
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.common.errors import InputError, suggestion
from policies.common.files import save_json
from policies.common.settings import names
from policies.log import Dataset
from policies.sources.files import Table, ending, tables_in
from policies.sources.roles import ROLES, choose, pairs
from policies.sources.values import text
from simulator.commands import PrintResult, Work
from simulator.experiment.data import load_data
from simulator.fitting.fit_users import chains_of
from simulator.population.sampling import fit_sample, sample_note
from simulator.settings import Experiment
from simulator.users.choice_model import DAY
from simulator.validation import LEARNERS
from simulator.validation.asked import Asked, Say
from simulator.validation.learning import check_learners
from simulator.validation.reporting.lights import all_lights
from simulator.validation.reporting.report import light_table, summary, write
from simulator.validation.second_log import Difference, check_second, of_column
from simulator.validation.validation import Validation, against_second_log, validate


def work_of(given: argparse.Namespace, words: list[str]) -> Work:
    """What validates the users of a fit; words: of the command line."""
    began = time.monotonic()

    def work(
        experiment: Experiment, data: Dataset, out: Path, say: Callable[[str], None]
    ) -> PrintResult:
        notes = [*data.notes, *sample_note(data, experiment)]
        whole, data = data, fit_sample(data, experiment).data
        asked = _asked(given, experiment, data)
        if given.test_log is None:
            v = validate(data, asked, say)
        else:
            v, more = _second(given, experiment, whole, data, asked, say)
            notes += [f"second log: {note}" for note in more]
        about: dict[str, Any] = {
            "log": experiment.log,
            "test_log": given.test_log,
            "held_out_days": asked.days if given.test_log is None else None,
            "seed": experiment.seed,
            "slate_size": experiment.slate_size,
            "user_model": experiment.user_model,
            "seconds": round(time.monotonic() - began, 1),
            "command": "python -m simulator.validate " + shlex.join(words),
        }
        save_json(out / "fidelity.json", about | v.as_json())
        rows = all_lights(v)
        write(v, rows, about, notes, out)

        def print_result() -> None:
            light_table(rows).print()
            for sentence in summary(rows):
                print(sentence)
            for note in notes:
                print(f"note: {note}")
            print(f"report: {out}/fidelity.html")

        return print_result

    return work


def _asked(given: argparse.Namespace, experiment: Experiment, data: Dataset) -> Asked:
    """The flags, checked."""
    said = ",".join(LEARNERS) if given.learners is None else given.learners
    learners = () if said == "none" else tuple(names(said))
    if not learners and said != "none":
        raise InputError("--learners is empty; name models, or say none")
    check_learners(learners)
    if given.seeds is not None and given.seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {given.seeds}")
    for flag in ("held_out_days", "learners", "seeds", "context"):
        if getattr(given, flag) is not None and (given.test_log is None) == (flag == "context"):
            wanted = "wants" if flag == "context" else "is not for"
            raise InputError(f"--{flag.replace('_', '-')} {wanted} --test-log")
    if given.held_out_days is not None and "skips" not in data.has:
        raise InputError(
            f"--held-out-days: the log '{data.name}' has no skips, and the last choice of each user"
            " is held out"
        )
    return Asked(
        _held_out_days(data, given.held_out_days),
        experiment.slate_size,
        experiment.user_model,
        chains_of(experiment),
        learners,
        given.seeds or 1,
        experiment.threads,
    )


def _second(
    given: argparse.Namespace,
    experiment: Experiment,
    whole: Dataset,
    data: Dataset,
    asked: Asked,
    say: Say,
) -> tuple[Validation, list[str]]:
    """Users against the second log, and notes on it.

    Args:
        whole: the log, of whose users those of `data` are fitted.
    """
    say(f"second log: {given.test_log}")
    try:
        other = load_data(_of(experiment, given.test_log))
    except InputError as error:
        raise InputError(f"--test-log '{given.test_log}': {error}") from None
    notes = list(other.notes)
    left = np.isin(other.user_ids, np.setdiff1d(whole.user_ids, data.user_ids))
    if left.any():
        rows = left[other.log.user]
        other = replace(other, log=other.log.rows(~rows))
        notes.append(f"{int(rows.sum())} rows of users who are not fitted are left out.")
    check_second(data, other)
    return against_second_log(data, other, asked, _places(experiment, given), say), notes


def _of(experiment: Experiment, log: str) -> Experiment:
    """The same reading of another log."""
    reading = ("columns", "click_threshold", "click_when", "time_unit", "watch_unit")
    same = {name: getattr(experiment, name) for name in reading}
    return Experiment(log=log, repeat_after=0, users=2, slate_size=1, **same)


MOST_VALUES = 50  # of a column that may say where a page was shown


def _places(experiment: Experiment, given: argparse.Namespace) -> list[Difference]:
    """Where the pages of both logs were shown: by the column that is named; or else by all that
    nobody reads, have few values, and have others in the one log than in the other.
    """
    paths, name = (Path(experiment.log), Path(given.test_log)), given.context
    tables = [tables_in(path, "") for path in paths if path.is_file() and ending(path) != ".txt"]
    if len(tables) < 2:
        if name is not None:
            raise InputError("--context is for two event tables in files")
        return []
    if name is not None:
        for path, table in zip(paths, tables):
            if name not in table.names:
                raise InputError(
                    f"--context '{name}': '{path.name}' has no such"
                    f" column{suggestion(name, table.names)}"
                )
        one, other = (_values(table, name) for table in tables)
        return [of_column(name, one, other, named=True)]
    named = None if given.columns is None else pairs(given.columns, ROLES)
    used = {*ROLES, *choose(tables[0].names, named, ROLES, f"'{paths[0].name}'")[0].values()}
    found = []
    for column in tables[0].names:
        if column in used or column not in tables[1].names:
            continue
        if all(_few(table, column) for table in tables):
            one, other = (_values(table, column) for table in tables)
            found.append(of_column(column, one, other, named=False))
    return [difference for difference in found if difference.may_matter]


def _few(table: Table, name: str) -> bool:
    """Whether the first rows of a column hold few values that can be read as text: what holds many
    is not read whole.
    """
    first = next(table.batches([name]), None)
    if first is None or _unreadable(first.schema.field(0).type):
        return False
    return len(first.column(0).unique()) <= MOST_VALUES


def _unreadable(kind: pa.DataType) -> bool:
    of_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return pa.types.is_nested(kind) or of_bytes or pa.types.is_fixed_size_binary(kind)


def _values(table: Table, name: str) -> np.ndarray:
    """(rows,) the values of a column as text; numbers alike however they are written."""
    words = text(table.read([name])[name], partial(_place, table.paths[0].name), name)
    series = pd.Series(words.to_pylist(), dtype=object).fillna("").astype("category")
    levels = series.cat.categories.astype(str)
    numbers = pd.to_numeric(levels, errors="coerce")
    same = np.where(np.isfinite(numbers), [f"{x:.15g}" for x in numbers], levels)
    same = np.where(levels == "", "(empty)", same)
    return same[series.cat.codes.to_numpy()]


def _place(name: str, row: int) -> str:
    return f"'{name}', row {row + 1}"


def _held_out_days(data: Dataset, given: int | None) -> int:
    """As given, or a third of the log."""
    span = float(data.log.time.max() - data.log.time.min()) / DAY
    days = max(1, round(span / 3)) if given is None else given
    if days < 1:
        raise InputError(f"--held-out-days must be at least 1, not {days}")
    return days
