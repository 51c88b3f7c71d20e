"""What is assumed of users where a log does not tell; docs/users.md gives the reasoning behind
each.
"""

from simulator.fitting import drift
from simulator.fitting.sessions import SECONDS_PER_ITEM
from simulator.users.choice_model import Parameter

ASSUMED = {
    "satiation": (0.03, "mild: ten exposures to a category cost .3 logits"),
    "satiation_half_life_h": (3.0, "rested by the next day"),
    "repeat_fatigue": (0.5, "one repeat costs half a logit"),
    "leave_first_page": (0.0, "no difference"),
    "leave_satisfaction": (-1.0, "a page of clicks keeps more than a page of none"),
    "return_satisfaction": (-0.3, "satisfied users come back sooner"),
    "churn": (0.0, "nobody leaves for good"),
    "long_view": (0.0, "half of the clicks at even appeal"),
    "long_view_appeal": (0.5, "more where appeal is higher"),
    "like": (-3.3, "KuaiRand-Pure: .0174 likes and .45 clicks per exposure"),
    "like_appeal": (0.3, "more where appeal is higher"),
    "hate": (-6.3, "KuaiRand-Pure: 187 hates among 222,457 exposures, .45 clicks per exposure"),
    "hate_appeal": (0.0, "no difference"),
    "watch_long": (1.0, "20 s to a minute"),
    "watch_long_duration": (0.7, "longer for longer videos"),
    "watch_long_sd": (0.4, "spread of log seconds"),
    "watch_short": (0.2, "a few seconds"),
    "watch_short_duration": (0.4, "longer for longer videos"),
    "watch_short_sd": (0.7, "spread of log seconds"),
    "seconds_per_item": (SECONDS_PER_ITEM, "time to pass over an item"),
    **drift.ASSUMED,
}


def unidentified_parameters(unidentified: dict[str, Parameter]) -> dict[str, Parameter]:
    """Of satiation and repeats that cannot be told from 0: none, as the levels are fitted without
    them.

    What is assumed of repeats stays where the log has too few of them to contradict it.
    """
    parameters = {}
    for name, slope in unidentified.items():
        error = slope.error or 0.0
        of_log = f"{slope.value:.3g} (s.e. {error:.2g}) is not a cost that differs from 0"
        value, why = ASSUMED[name]
        if name == "repeat_fatigue" and slope.value + 1.96 * error >= value:
            parameters[name] = Parameter(
                value, "assumed", f"{why}; the log has few repeats: {of_log}"
            )
        else:
            parameters[name] = Parameter(0.0, "assumed", f"none: {of_log}")
    return parameters
