"""Small runs of every kind, for `benchmarks/same.py`: python benchmarks/same_runs.py TREE OUT [NAME
...]

TREE is a checkout with a .venv of its own. The logs are made here, so that every tree gets the
same. Runs that are there already are left alone; --list shows their names.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

KUAIRAND = Path(os.environ.get("GPTREC_DATA", "../shared/data")) / "kuairand_pure"
COLUMNS = "user=uid,item=iid,time=ts,click=clicked,session=visit,page=page,slot=slot,watch=secs,"
COLUMNS += "long_view=long,like=like,hate=hate,category=topic,duration=length,propensity=p"
AB = "user=uid,bucket=variant,time=ts,click=clicked,watch=secs,session=visit"
TINY = [
    "width=16",
    "epochs=1",
    "update_epochs=1",
    "length=20",
]
MODELS = [word for arm in ("sasrec", "gptrec") for s in TINY for word in ("--set", f"{arm}.{s}")]
MODELS += [
    "--set",
    "gptrec.prompt_epochs=1",
    "--set",
    "gptrec.window=40",
    "--set",
    "gptrec.room=18",
]
BASE = [
    "--log",
    "log.csv",
    "--columns",
    COLUMNS,
    "--calibrate",
    "random_click_rate=.2",
    "--users",
    "150",
    "--days",
    "2",
    "--warmup-days",
    "1",
    "--rounds",
    "2",
    "--set",
    "repeat_after=20",
    "--set",
    "threads=1",
    "--quiet",
]
FITTED = ["--users-from", "users"]
FITTED_BASE = [
    word for word in BASE if word not in ("--calibrate", "random_click_rate=.2")
] + FITTED
PAIR = ["--policies", "sasrec,popularity", *MODELS[:8]]
CHEAP = ["--policies", "itemknn,popularity"]
TOML = """policies = ["bprmf", "popularity", "itemknn"]
days = 2
learn_from = "all"
[policy.bprmf]
iterations = 5
"""


def run(module: str, *words: str) -> list[str]:
    return ["-m", module, *words]


FIT = ["--log", "log.csv", "--columns", COLUMNS, "--threads", "1", "--quiet"]
LEVEL = ["--calibrate", "random_click_rate=.2"]
STUDY = ["--policies", "itemknn,popularity", *FITTED_BASE]
STUDY = [w for w in STUDY if w not in ("--rounds", "2")]
SHORT = [
    "--log",
    "log.csv",
    "--columns",
    COLUMNS,
    "--users",
    "120",
    "--days",
    "2",
    "--warmup-days",
    "1",
]
SHORT += ["--set", "repeat_after=20", "--set", "threads=1", "--quiet", *FITTED]
COMMANDS: dict[str, list[str]] = {
    "users": run("simulator.fit", *FIT, *LEVEL, "--out", "users"),
    "fidelity": run(
        "simulator.validate", *FIT, *LEVEL, "--held-out-days", "6", "--out", "fidelity"
    ),
    "split": run(
        "simulator.run", "--policies", "gptrec,sasrec,uniform,oracle", *MODELS, *FITTED_BASE
    ),
    "twin": run("simulator.run", *PAIR, "--design", "twin", *FITTED_BASE),
    "off_policy": run(
        "simulator.run",
        "--policies",
        "sasrec,popularity,uniform",
        *MODELS[:8],
        "--off-policy",
        *FITTED_BASE,
    ),
    "stop_early": run(
        "simulator.run",
        "--policies",
        "itemknn,uniform.2,popularity",
        "--stop-early",
        *FITTED_BASE,
        "--days",
        "4",
        "--control",
        "popularity",
    ),
    "worlds": run("simulator.run", *CHEAP, *BASE, "--worlds", "2"),
    "models": run("simulator.run", *CHEAP, *BASE, "--user-model", "all"),
    "newcomers": run(
        "simulator.run",
        *CHEAP,
        *FITTED_BASE,
        "--set",
        "new_users=.05",
        "--set",
        "new_items=.02",
        "--set",
        "gone_items=.02",
        "--set",
        "batch_hours=6",
    ),
    "toml": run(
        "simulator.run",
        "--config",
        "run.toml",
        *FITTED_BASE,
        "--seed",
        "3",
        "--weights",
        ".3,.3,.2",
    ),
    "resume": run("simulator.run", *PAIR, *FITTED_BASE, "--seed", "5"),
    "aa": run("simulator.study", "aa", "--runs", "40", "--policies", "itemknn", *SHORT),
    "power_study": run("simulator.study", "power", "--runs", "40", *CHEAP, *SHORT),
    "coverage": run("simulator.study", "coverage", "--runs", "6", *CHEAP, *SHORT, "--users", "40"),
    "replicate": run("simulator.study", "replicate", "--seeds", "2", *CHEAP, *SHORT),
    "bias": run("simulator.study", "bias", "--seeds", "2", *CHEAP, *SHORT, "--rounds", "2"),
    "peeking": run("simulator.study", "peeking", "--runs", "2000", "--quiet"),
    "offline": run(
        "gptrec.evaluate",
        "--data",
        "log.csv",
        "--columns",
        "user=uid,item=iid,time=ts,click=clicked",
        "--models",
        "popularity,itemknn,bprmf,sasrec,gptrec",
        "--steps",
        "20",
        "--seeds",
        "2",
        "--ablate",
        "interests",
        "--set",
        "sasrec.width=16",
        "--set",
        "gptrec.width=16",
    ),
    "report": run("analysis.report", "copy_of_split"),
    "live": run(
        "analysis.report",
        "--impressions",
        "ab.csv",
        "--columns",
        AB,
        "--start",
        "2026-05-03",
        "--segments",
        "country",
        "--numbers",
        "revenue",
        "--monitor",
        "pocock",
        "--days",
        "6",
    ),
    "kuairand": run(
        "simulator.run",
        "--policies",
        "gptrec,sasrec",
        "--log",
        f"kuairand:{KUAIRAND.resolve()}",
        "--users",
        "500",
        "--days",
        "2",
        "--rounds",
        "2",
        "--seed",
        "1",
        "--set",
        "threads=1",
        "--quiet",
        *MODELS,
    ),
}
PRINTED = {
    "power.out": run("analysis.power", "--run", "split", "--mde", "1%,5%"),
    "power_table.out": run(
        "analysis.power", "--table", "people.csv", "--columns", "value=y,before=x"
    ),
    "power_numbers.out": run(
        "analysis.power", "--mean", "9.9", "--variance", "120", "--budget", "14d", "--users", "9999"
    ),
    "ope.out": run(
        "analysis.ope",
        "--table",
        "ope.csv",
        "--columns",
        "reward=clicked,logging=p,target=q,cluster=uid",
    ),
}


def make_logs(out: Path) -> None:
    """log.csv, ab.csv, people.csv, ope.csv and run.toml."""
    rng = np.random.default_rng(7)
    n_users, n_items, k = 200, 120, 5
    taste, like = rng.normal(size=(n_users, 4)), rng.normal(size=(n_items, 4))
    level, topic = rng.normal(0, 0.6, n_items), rng.integers(0, 8, n_items)
    rows = []
    for user in range(n_users):
        t = rng.uniform(0, 43_200)
        for visit in range(rng.integers(6, 14)):
            for page in range(rng.integers(1, 5)):
                items = rng.choice(n_items, k, replace=False)
                logit = -1.2 + 0.5 * like[items] @ taste[user] + level[items] - 0.1 * np.arange(k)
                click = rng.random(k) < 1 / (1 + np.exp(-logit))
                watch = np.where(click, np.exp(rng.normal(2.5, 0.6, k)), 0).round(2)
                for slot in range(k):
                    rows.append((user, items[slot], t, visit, page, slot, click[slot], watch[slot]))
                t += 20 + watch.sum()
            t += 3600 * np.exp(rng.normal(2.5, 0.8))
    names = ["uid", "iid", "ts", "visit", "page", "slot", "clicked", "secs"]
    log = pd.DataFrame(rows, columns=names)
    log["long"] = (log["secs"] > 12).astype(int)
    log["like"] = (log["clicked"] & (rng.random(len(log)) < 0.15)).astype(int)
    log["hate"] = (~log["clicked"] & (rng.random(len(log)) < 0.02)).astype(int)
    log["topic"] = [f"topic-{c}" for c in topic[log["iid"]]]
    log["length"] = 20.0 + (log["iid"] % 7) * 5
    log["p"] = 1 / n_items
    log["clicked"], log["ts"] = log["clicked"].astype(int), log["ts"].round(3) + 1_700_000_000
    log["visit"] += 100 * log["uid"]
    log["uid"] = [f"u{u}" for u in log["uid"]]
    log.to_csv(out / "log.csv", index=False)
    n = 400
    user = rng.integers(0, n, n * 30)
    arm, rate = rng.integers(0, 2, n), rng.uniform(0.1, 0.5, n)
    time_ = rng.random(len(user)) * 8 * 86_400
    clicked = rng.random(len(user)) < rate[user] * np.where(
        time_ > 2 * 86_400, 1 + 0.2 * arm[user], 1
    )
    ab = pd.DataFrame(
        {
            "uid": user,
            "variant": np.array(["old", "new"])[arm[user]],
            "clicked": clicked.astype(int),
        }
    )
    ab["ts"] = pd.Timestamp("2026-05-01") + pd.to_timedelta(time_.round(), unit="s")
    ab["secs"] = np.where(clicked, rng.exponential(20, len(user)), 0).round(1)
    ab["visit"], ab["country"] = (time_ // 7200).astype(int), np.array(["de", "fr", "nl"])[user % 3]
    ab["revenue"] = np.where(clicked, rng.exponential(3, len(user)), 0).round(2)
    ab.to_csv(out / "ab.csv", index=False)
    x = rng.exponential(5, 500)
    pd.DataFrame({"y": x + rng.exponential(3, 500), "x": x}).to_csv(out / "people.csv", index=False)
    p = rng.uniform(0.05, 0.5, 3000)
    shown = rng.random(3000) < 0.3
    ope = pd.DataFrame({"uid": rng.integers(0, 300, 3000), "p": p, "q": np.where(shown, 0.4, 0.1)})
    ope["clicked"] = (rng.random(3000) < 0.2 + 0.2 * shown).astype(int)
    ope.to_csv(out / "ope.csv", index=False)
    (out / "run.toml").write_text(TOML)


def killed_and_resumed(
    python: str, words: list[str], out: Path, environment: dict[str, str]
) -> int:
    """Starts a run, kills it once a checkpoint of the split is there, and goes on with it."""
    process = subprocess.Popen([python, *words, "--out", "resume"], cwd=out, env=environment)
    for _ in range(1200):
        time.sleep(0.1)
        if process.poll() is not None or list(out.glob("resume/checkpoint/split*.json")):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    resume = [python, "-m", "simulator.run", "--resume", "resume", "--quiet"]
    return subprocess.run(resume, cwd=out, env=environment, check=False).returncode


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 done, 1 a run failed, 2 bad input."""
    if arguments == ["--list"]:
        print("\n".join([*COMMANDS, *PRINTED]))
        return 0
    if len(arguments) < 2 or not (Path(arguments[0]) / ".venv/bin/python").exists():
        print("error: wanted TREE (with a .venv) and OUT", file=sys.stderr)
        return 2
    tree, out = Path(arguments[0]).resolve(), Path(arguments[1]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    make_logs(out)
    names, failed = arguments[2:] or [*COMMANDS, *PRINTED], []
    python = str(tree / ".venv/bin/python")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "OMP_NUM_THREADS": "1",
        "PYTHONSAFEPATH": "1",
    }
    for name in names:
        began = time.monotonic()
        if (out / name).exists() or (name == "kuairand" and not KUAIRAND.is_dir()):
            continue
        if name == "report" and not (out / "copy_of_split").exists():
            subprocess.run(["cp", "-r", "split", "copy_of_split"], cwd=out, check=True)
        if name == "resume":
            status = killed_and_resumed(python, COMMANDS[name], out, environment)
        elif name in PRINTED:
            with open(out / name, "w", encoding="utf-8") as file:
                status = subprocess.run(
                    [python, *PRINTED[name]], cwd=out, env=environment, stdout=file
                ).returncode
        else:
            words = COMMANDS[name] + (
                [] if "--out" in COMMANDS[name] or name == "report" else ["--out", name]
            )
            with open(out / f"{name}.log", "w", encoding="utf-8") as file:
                status = subprocess.run(
                    [python, *words],
                    cwd=out,
                    env=environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                ).returncode
        print(f"{name}: exit {status}, {time.monotonic() - began:.0f} s", flush=True)
        failed += [name] if status else []
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
