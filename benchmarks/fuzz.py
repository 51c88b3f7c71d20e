"""Reads many files with something wrong in them: none may end in a traceback or never.

    python benchmarks/fuzz.py --reader sim --n 20000
    python benchmarks/fuzz.py --reader live --n 20000

Prints how many were read and how many refused, and the seed and traceback of any other end; exit
status 1 if there was one, or if fewer than half could be read.
"""

import argparse
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis.data.live_import import import_log
from analysis.data.live_source import LiveLog
from policies.common.errors import InputError
from policies.sources.datasets import load
from tests.fuzzed_files import fuzzed_file

LONGEST = 20  # s; a file that takes longer hangs


def read(path: Path, reader: str) -> str:
    """`read`, `refused`, or what else came of it."""
    try:
        if reader == "sim":
            load(str(path))
        else:
            with duckdb.connect(config={"threads": 1}) as db:
                import_log(db, LiveLog(path))
    except InputError as error:
        if "\n" in str(error):
            return f"a refusal of more than one line: {error!r}"
        return "refused"
    except BaseException:  # anything else is what is looked for
        return traceback.format_exc()
    return "read"


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--reader", choices=["sim", "live"], required=True)
    p.add_argument("--n", type=int, default=20_000)
    p.add_argument("--seed", type=int, default=0, help="of the first file")
    given = p.parse_args()
    warnings.simplefilter("error", RuntimeWarning)
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("it hangs")))
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seed, given.seed + given.n):
            path = fuzzed_file(seed, Path(folder), given.reader == "live")
            signal.alarm(LONGEST)
            end = read(path, given.reader)
            signal.alarm(0)
            path.unlink()
            if end not in ("read", "refused"):
                print(f"seed {seed}, {path.name}:\n{end}", flush=True)
                end = "failed"
            counts[end] += 1
            if (seed + 1) % 1000 == 0:
                print(f"{seed + 1 - given.seed} files: {dict(counts)}", file=sys.stderr, flush=True)
    print(f"{given.reader}: {dict(counts)}; read {counts['read'] / given.n:.1%}")
    return int(counts["failed"] > 0 or counts["read"] < given.n / 2)


if __name__ == "__main__":
    sys.exit(main())
