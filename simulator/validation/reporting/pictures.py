"""Pictures of a validation."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from analysis.reporting.figures import GREY, HUES, PALE, STYLE, WIDE, figure, save
from simulator.validation.fidelity import Fidelity
from simulator.validation.learning import REAL, SIMULATED, Learning
from simulator.validation.validation import Validation


def draw(v: Validation, out: Path) -> dict[str, str]:
    """Name -> caption of those that there are, as PNG files in `out`."""
    captions = {}
    feedback = v.second.feedback if v.second is not None else v.feedback
    if isinstance(v.taught, Learning):
        captions["learning"] = _learning(v.taught, out / "learning.png")
    if feedback:
        captions["calibration"] = _calibration(feedback, out / "calibration.png")
    return captions


def _learning(found: Learning, path: Path) -> str:
    """NDCG@10 of each model from real and from simulated answers, side by side."""
    names = [t.policy for t in found.taught]
    with figure(path, (WIDE, 1.3 + 0.55 * len(names))) as (_, axis):
        for row, t in enumerate(found.taught):
            for place, world, colour in ((-0.13, REAL, "#000000"), (0.13, SIMULATED, HUES[0])):
                value, error = t.within(world)
                axis.errorbar(
                    value,
                    row + place,
                    xerr=1.96 * error,
                    fmt="o",
                    ms=7,
                    lw=2.2,
                    color=colour,
                    label=f"{world} answers" if row == 0 else None,
                )
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_xlabel("NDCG@10 of the next choice, 95 % interval over users")
        axis.legend(loc="best")
        same = found.order(REAL) == found.order(SIMULATED)
        axis.set_title(
            "Models rank alike from real and from simulated answers"
            if same
            else "Models rank otherwise from simulated answers than from real ones"
        )
    return (
        "What each model learns from real answers (black) and from those of the users (blue),"
        " each tested on the same kind."
    )


def _calibration(fidelities: list[Fidelity], path: Path) -> str:
    """Held-out rate against prediction, by tenths of the prediction."""
    with matplotlib.rc_context(dict(STYLE)):
        made = Figure(figsize=(3.4 * len(fidelities), 3.5), layout="constrained")
        every = np.atleast_1d(made.subplots(1, len(fidelities)))
        for axis, f in zip(every, fidelities, strict=True):
            predicted, rate, error = np.array(f.deciles).T
            top = 1.08 * max(predicted.max(), rate.max())
            axis.plot([0, top], [0, top], color=PALE, lw=1.5)
            axis.errorbar(predicted, rate, yerr=1.96 * error, fmt="o", ms=5, lw=1.5, color=HUES[0])
            axis.set(xlim=(0, top), ylim=(0, top), title=f.name)
            axis.set_xlabel("simulated rate", color=GREY)
            axis.set_ylabel("what happened", color=GREY)
        save(made, path)
    return "Answers by tenths of the simulated probability; on the line the users are right."
