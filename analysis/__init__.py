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
    from analysis.frames import judge
    from analysis.metrics import Metric
    from analysis.statistics.adjustment import Cuped, cuped
    from analysis.statistics.bayes import Posterior, posterior
    from analysis.statistics.difference import (
        Difference,
        Equivalence,
        NonInferiority,
        chance_to_win,
        clustered_difference,
        equivalence,
        lift_test,
        mean_difference,
        non_inferiority,
        proportion_difference,
        ratio_difference,
        relative_lift,
    )
    from analysis.statistics.exact import ExactTest, RankTest, exact_proportions, mann_whitney
    from analysis.statistics.multiplicity import (
        Interaction,
        Pair,
        SampleRatio,
        benjamini_hochberg,
        benjamini_yekutieli,
        bonferroni,
        hochberg,
        holm,
        interaction_test,
        sample_ratio,
        sequential_sample_ratio,
        tukey,
    )
    from analysis.statistics.open_ended import ConfidenceSequence, confidence_sequence, msprt
    from analysis.statistics.planning import (
        Plan,
        minimum_detectable_effect,
        power_of,
        sample_size,
        sample_size_of_margin,
        sample_size_of_proportions,
    )
    from analysis.statistics.propensity import Estimate, OffPolicy, off_policy
    from analysis.statistics.resampling import (
        Bootstrapped,
        bootstrap_difference,
        quantile_difference,
    )
    from analysis.statistics.sequential import (
        Stopped,
        after_stopping,
        crossing_probabilities,
        spending_bounds,
    )
    from analysis.statistics.summary import Joint, Summary

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
    "analysis.errors": ("AnalysisError",),
    "analysis.frames": ("judge",),
    "analysis.metrics": ("Metric",),
    "analysis.statistics.adjustment": (
        "Cuped",
        "cuped",
    ),
    "analysis.statistics.bayes": (
        "Posterior",
        "posterior",
    ),
    "analysis.statistics.difference": (
        "Difference",
        "Equivalence",
        "NonInferiority",
        "chance_to_win",
        "clustered_difference",
        "equivalence",
        "lift_test",
        "mean_difference",
        "non_inferiority",
        "proportion_difference",
        "ratio_difference",
        "relative_lift",
    ),
    "analysis.statistics.exact": (
        "ExactTest",
        "RankTest",
        "exact_proportions",
        "mann_whitney",
    ),
    "analysis.statistics.multiplicity": (
        "Interaction",
        "Pair",
        "SampleRatio",
        "benjamini_hochberg",
        "benjamini_yekutieli",
        "bonferroni",
        "hochberg",
        "holm",
        "interaction_test",
        "sample_ratio",
        "sequential_sample_ratio",
        "tukey",
    ),
    "analysis.statistics.open_ended": (
        "ConfidenceSequence",
        "confidence_sequence",
        "msprt",
    ),
    "analysis.statistics.planning": (
        "Plan",
        "minimum_detectable_effect",
        "power_of",
        "sample_size",
        "sample_size_of_margin",
        "sample_size_of_proportions",
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
        "Stopped",
        "after_stopping",
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
    "Equivalence",
    "Estimate",
    "ExactTest",
    "Interaction",
    "Joint",
    "Metric",
    "NonInferiority",
    "OffPolicy",
    "Pair",
    "Plan",
    "Posterior",
    "RankTest",
    "SampleRatio",
    "Stopped",
    "Summary",
    "after_stopping",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bonferroni",
    "bootstrap_difference",
    "chance_to_win",
    "clustered_difference",
    "confidence_sequence",
    "crossing_probabilities",
    "cuped",
    "equivalence",
    "exact_proportions",
    "hochberg",
    "holm",
    "interaction_test",
    "judge",
    "lift_test",
    "mann_whitney",
    "mean_difference",
    "minimum_detectable_effect",
    "msprt",
    "non_inferiority",
    "off_policy",
    "posterior",
    "power_of",
    "proportion_difference",
    "quantile_difference",
    "ratio_difference",
    "relative_lift",
    "sample_ratio",
    "sample_size",
    "sample_size_of_margin",
    "sample_size_of_proportions",
    "sequential_sample_ratio",
    "spending_bounds",
    "tukey",
]


def __getattr__(name: str) -> object:
    # Late: whoever needs one test does not wait for all of them.
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in ("errors", "metrics"):
        return importlib.import_module(f"analysis.{name}")
    raise AttributeError(f"module 'analysis' has no attribute '{name}'")
