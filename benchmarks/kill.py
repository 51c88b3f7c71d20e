"""Kills commands at random moments, goes on with them, and compares with one that was left alone.

    python benchmarks/kill.py --kills 50

Runs (split, twin, off-policy), studies and evaluations are gone on with by --resume; fits and
validations are started again with the same --out. In "workers, local" and "workers, ray" one of the
processes that do the units is killed, and the run has to end by itself. Prints a line per kill;
exit status 1 if one differs, or if a process is left behind.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))

from same_runs import COLUMNS, make_logs

PYTHON = sys.executable
LOG = ["--log", "log.csv", "--columns", COLUMNS]
SMALL = [*LOG, "--users", "300", "--days", "4", "--warmup-days", "1", "--set", "repeat_after=20"]
SMALL += ["--threads", "1", "--quiet"]
FIT = ["--draws", "12", "--thin", "1"]
TIMES = (
    "seconds",
    "train_seconds",
    "users_per_second",
    "peak_mib",
    "peak_memory_mib",
    "path",
    "command",
    "training",
    "curves",
    "time",
)


@dataclass(frozen=True)
class Scenario:
    """A command, how it is gone on with, and what of its folder has to be the same."""

    name: str
    words: list[str]
    resume: Callable[[Path], list[str]] | None
    content: Callable[[Path], str]
    worker: str | None = None  # in the command line of the processes of which one is killed


def scenarios(work: Path) -> list[Scenario]:
    users = ["--users-from", str(work / "users")]
    arms = ["simulator.run", "--policies", "popularity,itemknn", *SMALL, *FIT, *users]
    lines = work / "lines.txt"

    def resume_run(out: Path) -> list[str]:
        return ["simulator.run", "--resume", str(out), "--quiet"]

    return [
        Scenario("run, split", [*arms, "--rounds", "3"], resume_run, of_run),
        Scenario("run, twin", [*arms, "--design", "twin", "--rounds", "2"], resume_run, of_run),
        Scenario(
            "run, off-policy",
            [*arms[:2], "uniform,popularity,itemknn", *arms[3:], "--off-policy", "--rounds", "2"],
            resume_run,
            of_run,
        ),
        Scenario("fit", ["simulator.fit", *LOG, "--threads", "1", "--quiet", *FIT], None, of_files),
        Scenario(
            "validate",
            ["simulator.validate", *LOG, "--held-out-days", "6", "--threads", "1", "--quiet", *FIT],
            None,
            of_files,
        ),
        Scenario(
            "study",
            ["simulator.study", "replicate", "--seeds", "2", *arms[1:], "--rounds", "1"],
            lambda out: ["simulator.study", "replicate", "--resume", str(out), "--quiet"],
            lambda out: of_json(out / "study.json"),
        ),
        Scenario(
            "evaluate",
            ["gptrec.evaluate", "--data", str(lines), "--models", "popularity,sasrec", "--seeds",
             "2", "--steps", "60", "--quiet"],
            lambda out: ["gptrec.evaluate", "--resume", str(out), "--quiet"],
            lambda out: of_json(out / "results.json"),
        ),
        *(
            Scenario(
                f"workers, {engine}",
                [*arms, "--rounds", "3", "--engine", engine, "--workers", "2", "--shards", "3"],
                None,
                of_run,
                name,
            )
            for engine, name in (("local", "loky"), ("ray", "ray::(serve|fit|retrain)"))
            if engine == "local" or find_spec("ray") is not None
        ),
    ]  # fmt: skip


def without_times(content: object) -> object:
    if isinstance(content, dict):
        return {k: without_times(v) for k, v in content.items() if k not in (*TIMES, "manifest")}
    return [without_times(x) for x in content] if isinstance(content, list) else content


def of_json(path: Path) -> str:
    content = without_times(json.loads(path.read_text()))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def of_run(out: Path) -> str:
    """The judgement, and every row in canonical order."""
    rows = []
    for name in ("impressions", "truth_worlds", "off_policy"):
        for path in sorted((out / name).rglob("*.parquet")):
            frame = pd.read_parquet(path, partitioning=None)
            rows.append(frame.assign(where=str(path.parent.relative_to(out))))
    table = pd.concat(rows).sort_values(["where", "user", "time", "page", "slot"])
    digest = hashlib.sha256(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest() + of_json(out / "results.json")


def of_files(out: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in out.rglob("*") if p.is_file() and p.suffix != ".png"):
        digest.update(path.relative_to(out).as_posix().encode())
        if path.suffix == ".json":
            digest.update(of_json(path).encode())
        elif path.suffix != ".md":  # which says how long it took
            digest.update(path.read_bytes())
    return digest.hexdigest()


def start(words: list[str], out: Path | None, work: Path) -> subprocess.Popen[bytes]:
    more = [] if out is None else ["--out", str(out)]
    return subprocess.Popen(
        [PYTHON, "-m", *words, *more],
        cwd=work,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, said = process.communicate()
    return process.returncode, said.decode(errors="replace").strip()[-300:]


PATIENCE = 20.0  # s in which a process that is still importing has to find that nobody waits


def left_behind(group: int) -> list[str]:
    """Commands of the session of one that was killed, after a while."""
    until = time.monotonic() + PATIENCE
    while True:
        words = ["ps", "-o", "args=", "-s", str(group)]
        found = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.5)


def kill_one(session: int, name: str, rng: random.Random) -> int:
    """Kills one of the processes of a session that have this in their command line; how many."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        words = ["ps", "-eo", "pid=,sess=,args="]
        lines = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
        found = [line.split(None, 2) for line in lines if re.search(name, line)]
        mine = [int(pid) for pid, sess, _ in found if "ray" in name or int(sess) == session]
        if mine:
            os.kill(rng.choice(mine), signal.SIGKILL)
            return 1
        time.sleep(0.05)
    return 0


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--kills", type=int, default=50)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--only", help="a scenario")
    given = p.parse_args()
    rng, bad = random.Random(given.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_logs(work)
        words = ["simulator.fit", *LOG, "--threads", "1", "--quiet", *FIT]
        made = start(words, work / "users", work)
        assert finish(made)[0] == 0
        chooser = random.Random(1)
        (work / "lines.txt").write_text(
            "\n".join(" ".join(map(str, [u, *chooser.sample(range(60), 12)])) for u in range(120))
        )
        several = [s for s in scenarios(work) if given.only in (None, s.name)]
        if not several:
            p.error(f"--only: there are {', '.join(s.name for s in scenarios(work))}")
        wanted, length = {}, {}
        for s in several:
            began = time.monotonic()
            status, said = finish(start(s.words, work / "whole", work))
            if status:
                print(f"{s.name}: {said}")
                return 1
            length[s.name] = time.monotonic() - began
            wanted[s.name] = s.content(work / "whole")
            shutil.rmtree(work / "whole")
        for kill in range(given.kills):
            s, out = several[kill % len(several)], work / f"kill{kill}"
            process, after = start(s.words, out, work), rng.uniform(0.05, 0.98) * length[s.name]
            time.sleep(after)
            again = None
            if s.worker is not None:
                hit = kill_one(process.pid, s.worker, rng)
                status, said = finish(process)
                orphans, how = left_behind(process.pid), f"{hit} processes hit"
            else:
                process.send_signal(signal.SIGKILL)
                finish(process)
                orphans = left_behind(process.pid)
                begun = out.exists() and (s.resume is None or any(out.glob("*.json")))
                again = s.resume(out) if begun and s.resume is not None else None
                how = "resumed" if again else "started again"
                status, said = finish(start(again or s.words, None if again else out, work))
            same = status == 0 and s.content(out) == wanted[s.name]
            bad += not same or bool(orphans)
            end = "the same" if same else f"DIFFERENT (status {status}: {said})"
            print(
                f"{kill + 1:3} {s.name:16} killed after {after:5.1f} of {length[s.name]:4.1f} s,"
                f" {how}: {end}; {len(orphans)} left"
                f" behind {[words[-70:] for words in orphans] or ''}",
                flush=True,
            )
            shutil.rmtree(out, ignore_errors=True)
    print(f"{given.kills - bad} of {given.kills} as if nothing had happened")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
