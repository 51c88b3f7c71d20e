"""What the numbers say, in sentences."""

from typing import Any

import numpy as np

from analysis.data.ab_test import MADE_OF, ABTest, is_assumed
from analysis.data.flaws import Flaw
from analysis.results.counterfactual import OffPolicyEstimates
from analysis.results.effects import Effect
from analysis.results.monitoring import Monitored, days_for
from analysis.results.results import Judgement, TrueEffect
from analysis.results.segments import LEAST_USERS, InteractionTest, LeftOut, Segments
from analysis.results.sensitivity import Sensitivity
from analysis.statistics.comparison import LEVEL
from policies.common.tables import interval, number, percent, signed, signed_number

BOUNDS = {
    "obrien_fleming": "O'Brien-Fleming-type bounds",
    "pocock": "Pocock-type bounds",
    "cs": "a confidence sequence",
}


def said(pvalue: float) -> str:
    """`p = 0.012`; below what numbers can hold `p < 1e-16`."""
    return f"p = {pvalue:.2g}" if pvalue >= 1e-16 or np.isnan(pvalue) else "p < 1e-16"


def counted(n: float, what: str) -> str:
    """`1 day`, `7 days`, `0.5 days`."""
    return f"{n:g} {what}{'' if n == 1 else 's'}"


# -- the verdict -----------------------------------------------------------------------------------


def verdicts_of(judgement: Judgement) -> list[str]:
    """A sentence per contender about the primary metric."""
    test = judgement.test
    if not judgement.effects:
        return []
    if judgement.by_looks:
        looks = {row.arm: row for row in judgement.monitor}
        return [
            looked_verdict(effect, looks[effect.arm], test.days, test.simulated, test.mde)
            for effect in judgement.primary
        ]
    if test.days < test.planned:
        return [
            f"Day {test.days} of {test.planned}: {test.primary.label} cannot be looked at day by"
            " day; nothing is concluded before the end."
        ]
    per_user = " per user" if test.primary.denominator is None else ""
    what = f"{test.primary.label}{per_user}"
    looks = {row.arm: row for row in judgement.monitor}
    return [
        verdict(effect, test.simulated, what, test.mde, longer(effect, looks.get(effect.arm), test))
        for effect in judgement.primary
    ]


LONGEST = 366  # days that are worth naming


def longer(effect: Effect, looks: Monitored | None, test: ABTest) -> str:
    """`, or 40 days,` where the error fell from day to day as it does when time helps; else ""."""
    if looks is None:
        return ""
    days = days_for(looks, test.mde)
    if days is None or not test.days < days <= LONGEST:
        return ""
    return f" (or {days} days of the same traffic)"


def verdict(effect: Effect, simulated: bool, what: str, mde: float, days: str = "") -> str:
    """One sentence about one contender on the primary metric.

    Args:
        what: the metric in words. mde: the smallest lift that matters. days: how long a test must
            be to see it, in words; "" where nothing tells.
    """
    arms = f"{effect.arm} against {effect.control}"
    if not effect.known:
        return _without_lift(effect, what)
    holm = f", Holm-adjusted {said(effect.pvalue_adjusted)}"
    if effect.pvalue_adjusted < 1 - LEVEL:
        begin = "In this world and training run " if simulated else ""
        return (
            f"{begin}{effect.arm} {_wins(effect, effect.lift)} {effect.control} on {what} by"
            f" {percent(abs(effect.lift))} ({_size(effect.lift, effect.low, effect.high)}{holm})"
            f"{_truth(effect)}."
        )
    if not np.isfinite(effect.pvalue):
        return f"{arms}: {what} does not vary; nothing is compared."
    between = f"between {signed(effect.low)} and {signed(effect.high)}"
    if effect.pvalue_adjusted > effect.pvalue:  # the interval is not corrected, and may leave out 0
        between += " taken by itself"
    if -mde < effect.low and effect.high < mde:
        return (
            f"No difference of {percent(mde)} or more: {arms} lies {between} on {what} (95 %"
            f" interval{holm}){_truth(effect)}."
        )
    return (
        f"Inconclusive: {arms} lies {between} on {what} (estimate {signed(effect.lift)}{holm});"
        f" {needed(effect, mde, days)}{_truth(effect)}."
    )


def needed(effect: Effect, mde: float, days: str = "") -> str:
    """How many users would let a test see the smallest lift that matters."""
    users = effect.users_for(mde)
    if not np.isfinite(users):
        return f"too little is known to say how many users would let a test see {percent(mde)}"
    rounded = number(float(f"{users:.2g}"))
    return (
        f"about {rounded} users in both arms{days} would let a test see {percent(mde)} with"
        f" probability .80; this one had {number(float(effect.n_control + effect.n_treatment))}"
    )


def _without_lift(effect: Effect, what: str) -> str:
    """The verdict on the difference itself, where the control's mean is 0 or negative."""
    arms = f"{effect.arm} against {effect.control}"
    if not effect.compared:
        return f"{arms}: nothing to compare on {what}."
    low, high = signed_number(effect.difference_low), signed_number(effect.difference_high)
    size = f"95 % interval {low} to {high}, Holm-adjusted {said(effect.pvalue_adjusted)}"
    why = f"the control's mean is {number(effect.control_mean)}, so that there is no lift"
    if effect.pvalue_adjusted < 1 - LEVEL:
        return (
            f"{effect.arm} {_wins(effect, effect.difference)} {effect.control} on {what} by"
            f" {number(abs(effect.difference))} ({size}); {why}{_truth(effect)}."
        )
    return (
        f"Inconclusive: {arms} lies between {low} and {high} on {what} ({size}); {why}"
        f"{_truth(effect)}."
    )


def looked_verdict(effect: Effect, looks: Monitored, day: int, simulated: bool, mde: float) -> str:
    """One sentence about a test that somebody looks at every day, at a crossing, under way, or at
    its planned end.
    """
    what, truth = effect.label, _truth(effect)
    arms = f"{effect.arm} against {effect.control}"
    if not looks.looks or looks.lift is None or looks.low is None or looks.high is None:
        return f"{arms}: too little to look at on {what} in {day} days."
    if looks.stopped:
        p = f", {said(looks.pvalue)}" if looks.pvalue is not None else ""
        begin = "Stopped" if looks.stopped == day and simulated else "Crossed its bound"
        return (
            f"{begin} on day {looks.stopped} of {looks.planned}: {effect.arm}"
            f" {_wins(effect, looks.lift)} {effect.control} on {what} by"
            f" {percent(abs(looks.lift))} ({_size(looks.lift, looks.low, looks.high)}{p}, adjusted"
            f" for the looks){truth}."
        )
    so_far = f"{arms} has {signed(looks.lift)} on {what} so far"
    if day < (looks.planned or day):
        if looks.method == "none":
            return (
                f"Day {day} of {looks.planned}: {so_far}; without a --monitor nothing is concluded"
                " before the end."
            )
        return (
            f"Day {day} of {looks.planned}, no bound crossed: {so_far} (interval that holds for all"
            f" looks {interval(looks.low, looks.high)}); nothing is concluded yet{truth}."
        )
    begin = "Inconclusive"
    if -mde < looks.low and looks.high < mde:
        begin = f"No difference of {percent(mde)} or more"
    return (
        f"{begin} with a look a day: {arms} lies between {signed(looks.low)} and"
        f" {signed(looks.high)} on {what} (estimate {signed(looks.lift)}, adjusted for the looks);"
        f" {needed(effect, mde)}{truth}."
    )


def _truth(effect: Effect) -> str:
    if effect.true_lift is None:
        return ""
    return f"; the true effect is {signed(effect.true_lift)}"


def _wins(effect: Effect, lift: float) -> str:
    return "beats" if (lift > 0) == effect.higher_is_better else "loses to"


def _size(lift: float, low: float, high: float) -> str:
    """The interval of a lift whose sign is said in words."""
    ends = (low, high) if lift > 0 else (-high, -low)
    first, last = (percent(x) if np.isfinite(x) else "no bound" for x in ends)
    return f"95 % interval {first} to {last}"


def true_verdict(effect: TrueEffect) -> str:
    """One sentence about the twin worlds."""
    return (
        f"True effect of {effect.arm} against {effect.control} on {effect.label}:"
        f" {signed(effect.true_lift)} (every one of {effect.users} users in both worlds)."
    )


# -- remarks ---------------------------------------------------------------------------------------


def flaw_warnings(flaws: list[Flaw]) -> list[str]:
    """The rows that a test's log has too many, or that say too little, by arm."""
    return [
        f"{flaw.total} {flaw.what}: "
        + ", ".join(f"{n} of {flaw.rows[arm]} of {arm}" for arm, n in flaw.bad.items())
        for flaw in flaws
    ]


def judgement_warnings(judgement: Judgement) -> list[str]:
    """Figures that one user carries, and tests that most users never came to."""
    test, texts = judgement.test, []
    for row in judgement.carried:
        who_has = "1 user has" if row.users == 1 else f"{row.users} users have"
        texts.append(
            f"{who_has} {percent(row.share)} of {test.primary.label} of {row.arm} (up to"
            f" {number(row.most)} each): the figure is theirs; look whether they are people"
            + ("" if test.simulated else ", or cap all users with --winsorize .999")
        )
    users = {arm.arm: arm.users for arm in judgement.arms}
    absent = sum(judgement.never_came.get(arm, 0) for arm in test.arms)
    total = sum(users[arm] for arm in test.arms)
    if total and absent > total / 2:
        what = "make the test longer (--days), or see how often users come (sessions_per_day)"
        texts.append(
            f"{number(float(total - absent))} of {number(float(total))} assigned users came at all;"
            f" the others count as 0: {what}"
            if test.simulated
            else f"{number(float(total - absent))} of {number(float(total))} assigned users came at"
            " all; the others count as 0"
        )
    return texts


def simulation_remarks(users: dict[str, Any], test: ABTest) -> list[str]:
    """Which judged metrics stand on assumed users, and why nothing is compared where nothing is.

    Args:
        users: provenance of the simulated users.
    """
    remarks = []
    made_up = [
        test.metrics[name].label
        for name in MADE_OF
        if name in test.metrics and is_assumed(users, name)
    ]
    if made_up:
        remarks.append(f"the log tells nothing of {', '.join(made_up)}: here they are assumed")
    return remarks + not_compared(test)


def not_compared(test: ABTest) -> list[str]:
    """Why a simulated run has no verdict; empty where it has one."""
    if len(test.contenders) >= 2:
        return []
    alone = test.contenders[0] if test.contenders else "no arm"
    return [
        f"nothing is compared: {alone} alone is a contender, uniform and oracle are"
        " references; --policies wants two contenders for a verdict"
    ]


def interaction_sentence(test: InteractionTest) -> str:
    """Whether an effect differs between the levels of a segment."""
    verb = "differs" if test.pvalue_adjusted < 0.05 else "is not shown to differ"
    return f"The effect of {test.arm} {verb} by {test.segment} ({said(test.pvalue_adjusted)})"


def who(segments: Segments) -> list[str]:
    """One line per segment about whether the effect differs, one about what was left out of it, and
    one that says of which there is nothing to say.
    """
    if not segments.asked:
        return [
            "No segments: they want a time before the test, or columns that say what users are."
        ]
    lines = []
    for test in segments.tests:
        lines.append(interaction_sentence(test) + ".")
        place = (test.arm, test.segment)
        lines += _left_out([row for row in segments.left_out if (row.arm, row.segment) == place])
    if segments.silent:
        judged = {test.segment for test in segments.tests}
        names = dict.fromkeys(
            f"{segment} ({arm})" if segment in judged else segment
            for arm, segment in segments.silent
        )
        lines.append(f"Not two levels with {LEAST_USERS} users in each arm: {', '.join(names)}.")
    return lines


NAMED = 5  # levels that are called by name where many are left out


def _left_out(rows: list[LeftOut]) -> list[str]:
    """The largest levels first; nothing where none is left out."""
    if not rows:
        return []
    largest = sorted(rows, key=lambda row: -row.users)
    names = [f"{row.level} ({counted(row.users, 'user')})" for row in largest[:NAMED]]
    if rest := largest[NAMED:]:
        users = counted(sum(row.users for row in rest), "user")
        names.append(f"{len(rest)} more ({users})")
    why = f"no value, fewer than {LEAST_USERS} users in an arm, or no interval"
    return [f"Left out of {rows[0].segment} ({why}): {', '.join(names)}."]


def monitoring_sentences(judgement: Judgement) -> list[str]:
    """What looking every day would have found, and which of the intervals is the one to quote."""
    sentences = []
    for row in judgement.monitor:
        if not row.looks or row.method not in BOUNDS:
            continue
        begin = (
            f"Looked at every day with {BOUNDS[row.method]}, {row.arm} against"
            f" {judgement.test.control} crosses"
        )
        size = f"{percent(row.lift)} ({interval(row.low, row.high)})"
        if row.stopped:
            sentences.append(
                f"{begin} its bound on day {row.stopped} of {row.planned}, with a lift of"
                f" {size} then, adjusted for the looks."
            )
        else:
            sentences.append(
                f"{begin} no bound in {row.looks[-1].day} of {row.planned} days; the lift, with"
                f" an interval that allows for the looks, is {size}."
            )
    if sentences and judgement.by_looks:
        sentences.append(
            "The verdict is by these looks; intervals of the tables are for one, at the end."
        )
    elif sentences:
        sentences.append(
            "The verdict looks once, at the end, at all days: its interval is the one to quote."
        )
    return sentences


FEW_ROWS = 200


def off_policy_sentence(estimates: OffPolicyEstimates) -> str:
    """What the off-policy estimates are and are not."""
    if estimates.missing is not None:
        return f"No off-policy estimate: {estimates.missing}."
    text = (
        "Clicks per impression that each contender would have had in the visits of an arm whose"
        " probabilities are known, estimated from that arm's rows alone (intervals by user). The"
        " visits are those of the logging arm: what users had seen and clicked before, and how"
        " tired they were, came of it; the true figure of these visits stands beside. The last two"
        " columns are of users that the contender served itself."
    )
    return " ".join(part for part in (text, few_rows(estimates), not_shown(estimates)) if part)


def not_shown(estimates: OffPolicyEstimates) -> str:
    """Where a contender would show what the logging arm never shows; "" where none does."""
    if all(row.supported for row in estimates.rows):
        return ""
    return (
        "Not shown: the share of a contender's slots that the logging arm never fills with the same"
        " item; nothing in its log tells of them."
    )


def few_rows(estimates: OffPolicyEstimates) -> str:
    """Where the estimates stand on hardly any rows; "" where they do not."""
    if min(row.effective_n for row in estimates.rows) >= FEW_ROWS:
        return ""
    return (
        f"Fewer than {FEW_ROWS} effective rows: too few to lean on, and for the normal intervals."
    )


def chances(effects: list[Effect]) -> str:
    """The p-values of the primary metric said again as chances."""
    told = [
        f"{effect.arm} {effect.chance_to_win:.3f}"
        for effect in effects
        if effect.role == "primary" and np.isfinite(effect.chance_to_win)
    ]
    if not told:
        return ""
    return (
        f"Chance to be better than {effects[0].control}, under a flat prior (the one-sided p-value"
        f" said again): {', '.join(told)}."
    )


def advantage_sentence(rows: list[dict[str, Any]]) -> str:
    """How much of the best slates' advantage one list for everybody has."""
    rates = {row["known"]: row["click_rate"] for row in rows if row.get("rested", True)}
    tired = [row["click_rate"] for row in rows if not row.get("rested", True)]
    first, *_, best = rates.values()
    if best <= first:
        return "The best slates are no better than random ones."
    told, level = (
        percent((rates[f"item levels{more}"] - first) / (best - first), 0)
        for more in (", as the log tells them", "")
    )
    words = (
        f"One list for everybody, sorted by the items' levels as the log tells them, goes {told} of"
        " the way from uniformly random slates to the best ones for each user"
        f" ({level} if the levels were known); the rest is taste. Rested users, the log's items"
    )
    if not tired:
        return f"{words}; what tires them takes from all of it."
    return f"{words}: once users tire of them, the best slates get {number(tired[0])}."


def advantage_share(rows: list[dict[str, Any]]) -> float | None:
    """Of the way from random slates to the best ones, what the items' levels alone go; None where
    that is not known.
    """
    rates = {row["known"]: row["click_rate"] for row in rows if row.get("rested", True)}
    if "item levels" not in rates:
        return None
    first, best = next(iter(rates.values())), list(rates.values())[-1]
    share: float = (rates["item levels"] - first) / (best - first) if best > first else 0.0
    return share


def sensitivity_sentence(found: Sensitivity) -> str:
    """What was moved, and before whom."""
    return (
        "What the log does not tell of its users is moved to the ends of its range, one number at a"
        f" time. The arms serve the same {found.users} users for {counted(found.days, 'day')} with"
        " the models that they began with, so that only that number differs; 95 % intervals over"
        " users, not corrected for how many lines there are."
    )


def undecided(found: Sensitivity) -> list[str]:
    """Where a lift has either sign within what the log leaves open; a sentence per contender."""
    sentences = []
    turned = found.turned()
    for arm in dict.fromkeys(row.arm for row in turned):
        rows = [row for row in turned if row.arm == arm]
        numbers = " and of ".join(dict.fromkeys(row.number for row in rows))
        sentences.append(
            f"This log cannot tell whether {arm} or {rows[0].control} is better: within the range"
            f" of {numbers} the lift has either sign."
        )
    return sentences


def against_truth(effects: list[Effect]) -> list[str]:
    """What a live test like this one would have concluded, and whether that is so; a sentence per
    contender.
    """
    sentences = []
    for effect in effects:
        true = effect.true_lift
        if effect.role != "primary" or true is None or not effect.known:
            continue
        covered = effect.low <= true <= effect.high
        if effect.pvalue_adjusted >= 1 - LEVEL:
            verb = "no difference"
            if covered and true:
                verb += f", while the true effect is {percent(true)}: too small for this test"
        elif (effect.lift > 0) == (true > 0):
            verb = f"the right sign, off by {percent(effect.lift - true)}"
        else:
            verb = f"the WRONG sign: {percent(effect.lift)} where {percent(true)} is true"
        sentences.append(
            f"A live test like this one would have said of {effect.arm} against"
            f" {effect.control}: {verb}; its interval"
            f" {'holds' if covered else 'does NOT hold'} the true effect of {percent(true)}."
        )
    return sentences


def explanations(
    judgement: Judgement, true_effects: list[TrueEffect], settings: dict[str, Any] | None
) -> list[str]:
    """What the numbers are and are not.

    Args:
        settings: of the simulated experiment; None of a live test.
    """
    effects, sentences = judgement.effects, monitoring_sentences(judgement)
    if effects:
        sentences.append(
            f"n = {effects[0].n_control} users in the control; users are the unit of randomisation"
            " and of analysis. Lifts by tea-tasting (delta method), CUPED on the time before the"
            " test, where there is one (the means beside them are not adjusted); the primary metric"
            " (★) is corrected over arms by Holm, all others by Benjamini-Hochberg; intervals are"
            " not corrected. Detectable: the effect found with probability .80."
        )
        sentences.append(chances(effects))
    sentences += against_truth(effects)
    if any(effect.true_lift is not None for effect in effects) or true_effects:
        sentences.append(
            "The true effect compares worlds in which everybody gets one arm; no live test can know"
            " it. It speaks of these models: an arm that retrains on a bucket learns from fewer"
            " users than one that serves everybody."
        )
    if settings is None or settings["rounds"] == 1:
        return sentences
    if settings["learn_from"] == "own" and effects:
        sentences.append(
            "Users who share a retrained model are not independent replicates of the algorithm: the"
            " claim is about this training run."
        )
    if settings["learn_from"] == "all":
        sentences.append(
            "The arms learned from each other's rows: the difference between them is biased,"
            " usually towards zero."
        )
    return sentences
