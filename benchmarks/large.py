"""Large catalogues and large logs, made here: what is loaded, fitted, trained and served, and what
that takes.

  python benchmarks/large.py make LOG.parquet --rows 50000000 --users 500000 --items 100000
  python benchmarks/large.py policies                1 million items, 20 million rows, 10,000 users
  python benchmarks/large.py log LOG.parquet --fit-users 20000
                                                     loads it, fits a sample of users, runs them

`policies` trains each policy in a process of its own, serves a wave of every user, and retrains it
on a day of rows. All figures are of one thread, but for `log`, which runs the main command.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from policies.base import Policy, plain_requests
from policies.catalogue import Catalogue
from policies.draws import Draws, generator, key_of
from policies.log import COLUMNS, Impressions
from policies.registry import make
from simulator.experiment.clock import in_words
from simulator.users.choice_model import DAY

SLATE = 6
GROUPS = 200  # of taste: users and items of one group like each other
DAYS = 14.0


def rows_of(
    n: int, users: int, items: int, start: float, end: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Some n rows between two times [s], by time: visits of a few pages of `SLATE` items."""
    visits = max(n // (3 * SLATE), 1)
    begun = np.sort(rng.uniform(start, end, visits))
    visitor = rng.integers(0, users, visits)
    pages = rng.integers(1, 6, visits)
    visit = np.repeat(np.arange(visits), pages)
    page = np.arange(len(visit)) - np.repeat(np.cumsum(pages) - pages, pages)
    user, shape = visitor[visit], (len(visit), SLATE)
    # Half of what is shown is popular, half is of the user's group.
    popular = (items * rng.random(shape) ** 4).astype(np.int64)
    own = (items // GROUPS * rng.random(shape) ** 2).astype(np.int64) * GROUPS
    own += (user % GROUPS)[:, None]
    item = np.where(rng.random(shape) < 0.5, popular, np.minimum(own, items - 1))
    logit = -2.0 + 1.5 * (item % GROUPS == (user % GROUPS)[:, None])
    logit += ((item * 2654435761) % 1000) / 500 - 1  # a level of its own for each item
    clicked = rng.random(shape) < 1 / (1 + np.exp(-logit))
    return {
        "user": np.repeat(user, SLATE).astype(np.int32),
        "item": item.ravel().astype(np.int32) + 1,
        "time": np.repeat(begun[visit] + 40.0 * page, SLATE),
        "click": clicked.ravel(),
        "session": np.repeat(visit, SLATE).astype(np.int64),
        "page": np.repeat(page, SLATE).astype(np.int16),
        "slot": np.tile(np.arange(SLATE, dtype=np.int8), len(visit)),
        "watch": np.where(clicked, rng.lognormal(2.5, 1.0, shape), 0.0).ravel().astype(np.float32),
    }


def make_log(path: Path, rows: int, users: int, items: int) -> None:
    """A Parquet log, a million rows at a time."""
    rng, written, writer, visits = generator("large log", rows), 0, None, 0
    parts = max(rows // 1_000_000, 1)
    for part in range(parts):
        span = DAYS * DAY / parts
        columns = rows_of(rows // parts, users, items, part * span, (part + 1) * span, rng)
        columns["session"] = columns["session"] + visits
        visits = int(columns["session"][-1]) + 1
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
        written += table.num_rows
    assert writer is not None
    writer.close()
    print(f"{path}: {written} rows, {path.stat().st_size / 2**20:,.0f} MiB")


def log_of(rows: int, users: int, items: int) -> tuple[Impressions, Catalogue]:
    """The same as `make_log` writes, in memory."""
    rng, parts = generator("large log", rows), max(rows // 1_000_000, 1)
    kept = []
    for part in range(parts):
        span = DAYS * DAY / parts
        columns = rows_of(
            rows // parts,
            users,
            items,
            part * span - DAYS * DAY,
            (part + 1) * span - DAYS * DAY,
            rng,
        )
        columns["clicked"], columns["watched"] = columns.pop("click"), columns.pop("watch")
        kept.append(Impressions.of(**columns).sorted())
    return Impressions.concat(kept), Catalogue.of(np.arange(1, items + 1).astype(str))


def policy(name: str, rows: int, users: int, items: int, settings: dict[str, object]) -> None:
    """Trains, serves everybody a page, retrains on a day of rows."""
    torch.set_num_threads(1)
    log, catalogue = log_of(rows, users, items)
    print(f"{name}: log {len(log)} rows, {log.clicked.sum()} clicks;", end=" ", flush=True)
    made = make(name, settings)
    began = time.perf_counter()
    made.fit(log, catalogue, generator("large", name))
    print(f"fit {time.perf_counter() - began:.0f} s,", end=" ", flush=True)
    context = np.zeros((users, made.history_length), np.int32)
    last = log.rows(log.clicked).by_user()
    for back in range(made.history_length):
        at = np.searchsorted(last.user, np.arange(users), side="right") - 1 - back
        own = (at >= 0) & (last.user[np.maximum(at, 0)] == np.arange(users))
        context[own, -1 - back] = last.item[at[own]]
    del last
    page(made, context, items, 0, 64)  # so that loops are compiled
    began = time.perf_counter()
    for begin in range(0, users, 2048):
        page(made, context, items, begin, min(begin + 2048, users))
    seconds = time.perf_counter() - began
    print(f"serve {users / seconds:,.0f} pages/s,", end=" ", flush=True)
    if name == "sasrec":
        recalled(made, context, items)
    day = log.rows(log.time >= -DAY)
    began = time.perf_counter()
    made.update(day, catalogue, generator("large", name, 1))
    print(f"retrain on {len(day)} rows {time.perf_counter() - began:.0f} s,", end=" ")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB", flush=True)


def page(made: Policy, context: np.ndarray, items: int, begin: int, end: int) -> None:
    """Slates for some of the users."""
    requests = plain_requests(context[begin:end], items, np.arange(begin, end))
    made.recommend(requests, SLATE, Draws(key_of("large"), requests.users, requests.sessions))


def recalled(made: Policy, context: np.ndarray, items: int) -> None:
    """Two stages beside every item: how many of the best ten are found, and how fast."""
    users = min(2048, len(context))
    requests = plain_requests(context[:users], items)
    draws = Draws(key_of("large"), requests.users, requests.sessions)
    exact = made.recommend(requests, 10, draws).items
    first = made.recommend(requests, SLATE, draws).items
    for cells in (0.02, 0.05, 0.1, 0.2):
        two = make("sasrec", {"candidates": 200, "cells": cells, "epochs": 1})
        two.restore(made.state())
        began = time.perf_counter()
        page(two, context, items, 0, 64)
        built, began = time.perf_counter() - began, time.perf_counter()
        found = two.recommend(requests, 10, draws).items
        seconds = time.perf_counter() - began
        hits = (found[:, :, None] == exact[:, None, :]).any(axis=2).mean()
        changed = (two.recommend(requests, SLATE, draws).items != first).any(axis=1).mean()
        print(
            f"\n  candidates=200, cells={cells:g}: built in {built:.0f} s, {users / seconds:,.0f}"
            f" pages/s, recall@10 {hits:.3f}, slates changed {changed:.3f};",
            end=" ",
            flush=True,
        )


def run_on(log: Path, fit_users: int | None) -> None:
    """The main command on a log: 10,000 users, two days, two policies."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = [
            "--log",
            str(log),
            "--policies",
            "popularity,itemknn",
            "--out",
            str(out),
            "--quiet",
        ]
        words += ["--users", "10000", "--days", "2", "--rounds", "2", "--no-truth"]
        words += [] if fit_users is None else ["--fit-users", str(fit_users)]
        subprocess.run([sys.executable, "-m", "simulator.run", *words], check=True)
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    rows, row = manifest["log"]["rows"], sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
    print(f"{rows} rows, {rows * row / 2**30:.2f} GiB as one Impressions; {in_words(manifest)}")
    for note in manifest["notes"]:
        print(f"note: {note}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("make", "policies", "policy", "log"))
    parser.add_argument("path", nargs="?", help="of the log; or a policy's name")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=1, help="of sasrec (default 1)")
    parser.add_argument(
        "--fit-users", type=int, help="of `log` (default: those with 5 million rows)"
    )
    given = parser.parse_args()
    if given.what == "make":
        make_log(Path(given.path), given.rows, given.users, given.items)
    elif given.what == "policy":
        settings: dict[str, object] = {"epochs": given.epochs} if given.path == "sasrec" else {}
        policy(given.path, given.rows, given.users, given.items, settings)
    elif given.what == "policies":
        for name in ("popularity", "itemknn", "sasrec"):
            words = [f"--{k}={getattr(given, k)}" for k in ("rows", "users", "items", "epochs")]
            subprocess.run([sys.executable, __file__, "policy", name, *words], check=True)
    else:
        run_on(Path(given.path), given.fit_users)


if __name__ == "__main__":
    main()
