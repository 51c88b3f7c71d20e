"""The judgement of an experiment: public functions on plain arrays or sufficient statistics, and
the report.

    from analysis import mean_difference, ratio_difference, cuped
    mean_difference(control_values, treatment_values).lift
    mean_difference(Summary(n, mean, variance), Summary(n, mean, variance)).pvalue

Values are one per randomised unit (the user), never one per impression or session.
"""

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
from analysis.statistics.resampling import Bootstrapped, bootstrap_difference, quantile_difference
from analysis.statistics.sequential import (
    ConfidenceSequence,
    Stopped,
    after_stopping,
    confidence_sequence,
    crossing_probabilities,
    spending_bounds,
)
from analysis.statistics.summary import Joint, Summary

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
