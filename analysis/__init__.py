"""The judgement of an experiment: public functions on plain arrays or sufficient statistics, and
the report.

    from analysis import mean_difference, ratio_difference, cuped
    mean_difference(control_values, treatment_values).lift
    mean_difference(Summary(n, mean, variance), Summary(n, mean, variance)).pvalue

Values are one per randomised unit (the user), never one per impression or session.
"""

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.errors import AnalysisError
    from analysis.metrics import Metric
    from analysis.statistics.adjustment import Cuped, cuped
    from analysis.statistics.difference import (
        Difference,
        NonInferiority,
        chance_to_win,
        mean_difference,
        non_inferiority,
        proportion_difference,
        ratio_difference,
        relative_lift,
    )
    from analysis.statistics.multiplicity import (
        Interaction,
        SampleRatio,
        benjamini_hochberg,
        holm,
        interaction_test,
        sample_ratio,
        sequential_sample_ratio,
    )
    from analysis.statistics.planning import Plan, minimum_detectable_effect, power_of, sample_size
    from analysis.statistics.propensity import Estimate, OffPolicy, off_policy
    from analysis.statistics.resampling import (
        Bootstrapped,
        bootstrap_difference,
        quantile_difference,
    )
    from analysis.statistics.sequential import (
        ConfidenceSequence,
        Stopped,
        after_stopping,
        confidence_sequence,
        crossing_probabilities,
        spending_bounds,
    )
    from analysis.statistics.summary import Joint, Summary

if sys.argv[:1] == ["-m"]:  # a command: what it is going to import has to be ours
    try:
        from policies.common import siblings
    except ImportError:
        sys.exit("error: another package 'policies' stands before that of this toolkit; rename it")
    siblings.check()

_WHERE = {
    "analysis.errors": ("AnalysisError",),
    "analysis.metrics": ("Metric",),
    "analysis.statistics.adjustment": (
        "Cuped",
        "cuped",
    ),
    "analysis.statistics.difference": (
        "Difference",
        "NonInferiority",
        "chance_to_win",
        "mean_difference",
        "non_inferiority",
        "proportion_difference",
        "ratio_difference",
        "relative_lift",
    ),
    "analysis.statistics.multiplicity": (
        "Interaction",
        "SampleRatio",
        "benjamini_hochberg",
        "holm",
        "interaction_test",
        "sample_ratio",
        "sequential_sample_ratio",
    ),
    "analysis.statistics.planning": (
        "Plan",
        "minimum_detectable_effect",
        "power_of",
        "sample_size",
    ),
    "analysis.statistics.propensity": (
        "Estimate",
        "OffPolicy",
        "off_policy",
    ),
    "analysis.statistics.resampling": (
        "Bootstrapped",
        "bootstrap_difference",
        "quantile_difference",
    ),
    "analysis.statistics.sequential": (
        "ConfidenceSequence",
        "Stopped",
        "after_stopping",
        "confidence_sequence",
        "crossing_probabilities",
        "spending_bounds",
    ),
    "analysis.statistics.summary": (
        "Joint",
        "Summary",
    ),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}
__all__ = [
    "AnalysisError",
    "Bootstrapped",
    "ConfidenceSequence",
    "Cuped",
    "Difference",
    "Estimate",
    "Interaction",
    "Joint",
    "Metric",
    "NonInferiority",
    "OffPolicy",
    "Plan",
    "SampleRatio",
    "Stopped",
    "Summary",
    "after_stopping",
    "benjamini_hochberg",
    "bootstrap_difference",
    "chance_to_win",
    "confidence_sequence",
    "crossing_probabilities",
    "cuped",
    "holm",
    "interaction_test",
    "mean_difference",
    "minimum_detectable_effect",
    "non_inferiority",
    "off_policy",
    "power_of",
    "proportion_difference",
    "quantile_difference",
    "ratio_difference",
    "relative_lift",
    "sample_ratio",
    "sample_size",
    "sequential_sample_ratio",
    "spending_bounds",
]


def __getattr__(name: str) -> object:
    # Late: whoever needs one test does not wait for all of them.
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in ("errors", "metrics"):
        return importlib.import_module(f"analysis.{name}")
    raise AttributeError(f"module 'analysis' has no attribute '{name}'")
