"""Known results on feedback loops, asked of a study: does it find them, and are they the loop's?

    python -m simulator.study loop --policies sasrec,sasrec.2,sasrec.3,popularity --seeds 10 \
        --users 300 --days 6 --rounds 6 --set taste_dynamics=reinforced --set taste_strength=.05 \
        --set sasrec.2.epsilon=.2 --set sasrec.3.epsilon=.2 --set sasrec.3.propensity_cap=50 \
        --out known
    python benchmarks/known_loops.py --study known

Each line is a direction, tested one-sided over seeds (t) in the last round. Where own feedback
differs from the frozen policy beyond chance, it is also asked whether more data alone does less
than a fifth of it: the one-sided bound of |open - frozen| - .2 |own - frozen| is to be below 0. A
known result that does not appear stands here as it is.

Sources: homogenisation without a gain, Chaney, Stewart and Engelhardt, RecSys 2018 (arXiv
1710.11214); popularity bias grows, Mansoury et al., CIKM 2020 (arXiv 2007.13019); loops narrow,
Jiang et al., AIES 2019 (arXiv 1902.10730).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from analysis.loops.effects import OF_USERS, Measured
from policies.common.executor import HERE
from policies.common.tables import number, pvalue
from simulator.loop.study import loop
from simulator.settings import from_dict

# claim, measure, own less what, the sign that is known
CLAIMS = (
    ("users' pages become more alike", "overlap", "frozen", +1),
    ("and no better for it", "utility", "frozen", -1),
    ("what is shown becomes more popular", "popularity_shown", "first", +1),
    ("exposure becomes more concentrated", "gini", "first", +1),
    ("users are narrowed", "entropy", "frozen", -1),
    ("users are narrowed by the loop", "entropy", "open", -1),
)


def of_seeds(measured: Measured, policy: str, regime: str, measure: str, round_: int) -> np.ndarray:
    """(seeds,) means."""
    values = [x[round_] for x in measured.values(policy, regime, measure)]
    return np.array([np.nanmean(x) if measure in OF_USERS else x for x in values])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, required=True)
    given = parser.parse_args()
    about = json.loads((given.study / "settings.json").read_text())
    experiment = from_dict(about["experiment"])
    measured = loop(experiment, about["n"], given.study, True, HERE).measured
    last = measured.rounds - 1
    print(f"{measured.seeds} seeds, {experiment.users} users, {measured.rounds} rounds")
    print("| policy | claim | own less | difference | p, one-sided | loop alone? (bound) |")
    print("|---|---|---|---|---|---|")
    for policy in measured.policies:
        for claim, measure, against, sign in CLAIMS:
            if not measured.has(policy, "own", measure):
                continue
            own = of_seeds(measured, policy, "own", measure, last)
            if against == "first":
                other = of_seeds(measured, policy, "own", measure, 0)
            else:
                other = of_seeds(measured, policy, against, measure, last)
            test = stats.ttest_1samp(sign * (own - other), 0, alternative="greater")
            frozen, open_ = (
                of_seeds(measured, policy, regime, measure, last) for regime in ("frozen", "open")
            )
            bound = ""
            if stats.ttest_1samp(own - frozen, 0).pvalue < 0.05:
                side = np.sign((own - frozen).mean())
                excess = np.abs((open_ - frozen).mean()) - 0.2 * side * (own - frozen).mean()
                each = np.sign((open_ - frozen).mean()) * (open_ - frozen) - 0.2 * side * (
                    own - frozen
                )
                upper = excess + stats.t.ppf(0.95, len(each) - 1) * stats.sem(each)
                bound = f"{number(upper)} {'yes' if upper < 0 else 'no'}"
            p = pvalue(float(test.pvalue)) if np.ptp(own - other) > 0 else "–"
            cells = (policy, claim, against, number(float((own - other).mean())), p, bound)
            print(f"| {' | '.join(cells)} |")
    plain = measured.policies[0]
    for policy in measured.policies[1:]:
        if not policy.startswith(f"{plain}."):
            continue
        earlier = measured.policies[: measured.policies.index(policy)]
        for base in earlier:
            compare(measured, policy, base, experiment.settings_for(policy))


def compare(measured: Measured, policy: str, base: str, settings: dict[str, Any]) -> None:
    """What an intervention holds back. Random pages carry no loop, so that exploration thins every
    measure of all pages: only arms that explore as much are compared fairly.
    """
    last = measured.rounds - 1
    print(f"\n{policy} {settings} against {base}, own less what")
    print("| measure | own less | with | without | p, one-sided, that it is held back |")
    print("|---|---|---|---|---|")
    for measure, sign in (("overlap", -1), ("gini", -1), ("popularity_shown", -1), ("entropy", 1)):
        for against in ("frozen", "open"):
            moved = [
                of_seeds(measured, name, "own", measure, last)
                - of_seeds(measured, name, against, measure, last)
                for name in (policy, base)
            ]
            test = stats.ttest_1samp(sign * (moved[0] - moved[1]), 0, alternative="greater")
            means = [number(float(x.mean())) for x in moved]
            cells = (measure, against, *means, pvalue(float(test.pvalue)))
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
