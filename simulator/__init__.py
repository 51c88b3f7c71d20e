"""Simulated users, the world they live in, and the experiment: `from simulator import Experiment,
simulate`.
"""

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.experiment.result import Result
    from simulator.experiment.simulate import simulate
    from simulator.settings import Experiment

if sys.argv[:1] == ["-m"]:  # a command: what it is going to import has to be ours
    try:
        from policies.common import siblings
    except ImportError as error:
        if (error.name or "policies").partition(".")[0] != "policies":
            sys.exit(
                f"error: '{error.name}' is not installed; make test installs all that is needed"
            )
        sys.exit("error: another package 'policies' stands before that of this toolkit; rename it")
    siblings.check()

_WHERE = {
    "Experiment": "simulator.settings",
    "Result": "simulator.experiment.result",
    "simulate": "simulator.experiment.simulate",
}
__all__ = ["Experiment", "Result", "simulate"]


def __getattr__(name: str) -> object:
    # Late: whoever needs the settings alone does not wait for torch.
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'simulator' has no attribute '{name}'")
