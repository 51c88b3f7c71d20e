"""A/A of every public test: how often it rejects, and how often its interval leaves out 0, where
there is no effect.

    python benchmarks/aa_of_tests.py --runs 10000          the table of docs/calibration.md
    python benchmarks/aa_of_tests.py --runs 500 --n 50

Both rates shall be at most .05 and three standard errors; below .035 a test is conservative.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis import (
    Joint,
    Summary,
    bootstrap_difference,
    clustered_difference,
    cuped,
    exact_proportions,
    mann_whitney,
    mean_difference,
    proportion_difference,
    quantile_difference,
    ratio_difference,
    sample_ratio,
    tukey,
)
from analysis.statistics.resampling import least_users

ALPHA, CONSERVATIVE = 0.05, 0.035
SLOW = ("exact_proportions, barnard", "tukey")
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
Ends = tuple[float, float, float]  # p-value, low, high


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(10.0, 2.0, shape)


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.lognormal(0.0, 1.5, shape)


def counts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Nine of ten users have none, the others a few."""
    return (rng.random(shape) < 0.1) * (1.0 + rng.poisson(2.0, shape))


SHAPES: dict[str, Draw] = {"normal": normal, "lognormal 1.5": lognormal, "90 % zeros": counts}


def _summary(x: np.ndarray) -> Summary:
    return Summary(x.shape[1], x.mean(axis=1), x.var(axis=1, ddof=1))


def _joint(*columns: np.ndarray) -> Joint:
    """(runs, n) columns, one test per run."""
    x = np.stack(columns, axis=-1)
    centred = x - x.mean(axis=1, keepdims=True)
    n = x.shape[1]
    return Joint(n, x.mean(axis=1), np.einsum("rni,rnj->rij", centred, centred) / (n - 1))


def together(
    draw: Draw, rng: np.random.Generator, runs: int, n: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, p-values, lows and highs of the tests that take many runs at once."""
    a, b = draw(rng, (runs, n)), draw(rng, (runs, n))
    one, two = _summary(a), _summary(b)
    found = mean_difference(one, two)
    yield "mean_difference", found.pvalue, found.low, found.high
    for lift in ("fieller", "log", "delta"):
        found = mean_difference(one, two, lift=lift)
        yield f"mean_difference, lift by {lift}", found.lift_pvalue, found.lift_low, found.lift_high
    shown = [rng.poisson(20.0, (runs, n)) + 1.0 for _ in range(2)]
    parts = [_joint(x * s, s) for x, s in zip((a, b), shown, strict=True)]
    found = ratio_difference(*parts)
    yield "ratio_difference", found.pvalue, found.low, found.high
    yield "ratio_difference, lift", found.lift_pvalue, found.lift_low, found.lift_high
    pre = [x * rng.random(x.shape) for x in (a, b)]
    adjusted = cuped(_joint(a, pre[0]), _joint(b, pre[1])).adjusted
    yield "cuped", adjusted.pvalue, adjusted.low, adjusted.high
    yield "cuped, lift", adjusted.lift_pvalue, adjusted.lift_low, adjusted.lift_high


def _median(a: np.ndarray, b: np.ndarray, q: float) -> Ends:
    found = quantile_difference(a, b, q, resamples=1000)
    return found.pvalue, found.low, found.high


def _bootstrap(a: np.ndarray, b: np.ndarray) -> Ends:
    found = bootstrap_difference(a, b, np.mean, resamples=100)
    return found.pvalue, found.low, found.high


def _ranks(a: np.ndarray, b: np.ndarray) -> Ends:
    found = mann_whitney(a, b)
    return found.pvalue, found.low - 0.5, found.high - 0.5


def _clusters(a: np.ndarray, b: np.ndarray) -> Ends:
    """Three rows per user, which go together."""
    users = np.repeat(np.arange(len(a)), 3)
    noise = np.tile([0.8, 1.0, 1.2], len(a))
    found = clustered_difference(np.repeat(a, 3) * noise, users, np.repeat(b, 3) * noise, users)
    return found.pvalue, found.low, found.high


def _pairs(a: np.ndarray, b: np.ndarray) -> Ends:
    (found,) = tukey({"a": a, "b": b})
    return found.pvalue, found.low, found.high


def _shares(a: np.ndarray, b: np.ndarray, level: float) -> tuple[int, int, int, int]:
    return int((a > level).sum()), len(a), int((b > level).sum()), len(b)


def _proportions(a: np.ndarray, b: np.ndarray, level: float) -> Ends:
    found = proportion_difference(*_shares(a, b, level))
    return found.pvalue, found.low, found.high


def _exact(a: np.ndarray, b: np.ndarray, level: float, method: str) -> Ends:
    found = exact_proportions(*_shares(a, b, level), method=method)
    return found.pvalue, np.nan, np.nan


def _ratio(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> Ends:
    """Users fall into the arms by chance."""
    first = int(rng.binomial(len(a) + len(b), 0.5))
    return sample_ratio([first, len(a) + len(b) - first]).pvalue, np.nan, np.nan


def one_by_one(draw: Draw, rng: np.random.Generator, n: int) -> dict[str, Callable[..., Ends]]:
    """The tests that take one run, by name."""
    level = float(np.quantile(draw(rng, (100_000,)), 0.85))  # what counts as a click
    tests: dict[str, Callable[..., Ends]] = {
        f"quantile_difference {q:g}": lambda a, b, q=q: _median(a, b, q)
        for q in (0.5, 0.9, 0.99)
        if n >= least_users(q)
    }
    tests["bootstrap_difference of means"] = _bootstrap
    tests["mann_whitney"] = _ranks
    tests["clustered_difference"] = _clusters
    tests["tukey, two arms"] = _pairs
    tests["proportion_difference"] = lambda a, b: _proportions(a, b, level)
    tests["exact_proportions, fisher"] = lambda a, b: _exact(a, b, level, "fisher")
    if n <= 200:
        tests["exact_proportions, barnard"] = lambda a, b: _exact(a, b, level, "barnard")
    tests["sample_ratio"] = lambda a, b: _ratio(a, b, rng)
    return tests


def rates(runs: int, n: int, slow: int) -> Iterator[tuple[str, str, int, float, float]]:
    """Test, shape of the values, runs, share rejected, share of intervals without 0."""
    for shape, draw in SHAPES.items():
        rng = np.random.default_rng(n)
        for name, p, low, high in together(draw, rng, runs, n):
            yield name, shape, runs, _below(p), float(np.mean((low > 0) | (high < 0)))
        for name, test in one_by_one(draw, rng, n).items():
            times = slow if name.startswith(SLOW) else runs
            found = np.array([test(draw(rng, (n,)), draw(rng, (n,))) for _ in range(times)])
            p, low, high = found.T
            out = np.nan if np.isnan(low).all() else float(np.mean((low > 0) | (high < 0)))
            yield name, shape, times, _below(p), out


def _below(p: np.ndarray) -> float:
    return float(np.mean(np.asarray(p) < ALPHA))


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--runs", type=int, default=10_000)
    p.add_argument(
        "--slow",
        type=int,
        default=1000,
        help="runs of Barnard's test and of tukey, which take long",
    )
    p.add_argument("--n", type=int, nargs="+", default=[50, 200, 1000], help="users per arm")
    given = p.parse_args()
    print("| test | values | users per arm | runs | rejects | interval without 0 | |")
    print("|---|---|---|---|---|---|---|")
    found = []
    for n in given.n:
        for row in rates(given.runs, n, given.slow):
            found.append((n, *row))
            name, shape, runs, rejects, out = row
            ends = "" if np.isnan(out) else f"{out:.4f}"
            word = judged(max(rejects, 0.0 if np.isnan(out) else out), runs)
            line = f"| {name} | {shape} | {n} | {runs} | {rejects:.4f} | {ends} | {word} |"
            print(line, flush=True)
    print()
    print(compact(found))
    return 0


def judged(rate: float, runs: int) -> str:
    most = ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / runs)
    return "too often" if rate > most else "conservative" if rate < CONSERVATIVE else ""


Row = tuple[int, str, str, int, float, float]  # n, test, values, runs, rejects, interval without 0


def compact(rows: list[Row]) -> str:
    """A line per test: by users per arm the larger one of both rates for each shape of values, bold
    where that is too often.
    """
    sizes, tests = sorted({row[0] for row in rows}), list(dict.fromkeys(row[1] for row in rows))
    lines = ["| test | " + " | ".join(f"n = {n}" for n in sizes) + " |"]
    lines.append("|---|" + "---|" * len(sizes))
    for test in tests:
        cells = []
        for n in sizes:
            rates_there = []
            for shape in SHAPES:
                for row in rows:
                    if (row[0], row[1], row[2]) == (n, test, shape):
                        top = float(np.nanmax(row[4:]))
                        text = f"{top:.3f}".lstrip("0")
                        bad = judged(top, row[3]) == "too often"
                        rates_there.append(f"**{text}**" if bad else text)
            cells.append(", ".join(rates_there) or "–")
        lines.append(f"| {test} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
