"""What the numbers say, in sentences."""

from typing import Any

import numpy as np

from analysis.metrics import METRICS
from analysis.results.effects import Effect
from analysis.statistics.comparison import LEVEL


def percent(x: float | None, digits: int = 2) -> str:
    """A relative number as per cent with at most three significant digits."""
    if x is None or not np.isfinite(x):
        return "–"
    shown = abs(100 * x)
    places = 0 if shown >= 100 else 1 if shown >= 10 else digits
    return f"{round(100 * x, places) + 0.0:.{places}f} %"  # + 0 turns -0 into 0


def counted(n: float, what: str) -> str:
    """`1 day`, `7 days`, `0.5 days`."""
    return f"{n:g} {what}{'' if n == 1 else 's'}"


def verdict(e: Effect, simulated: bool) -> str:
    """One sentence about one contender on the primary metric."""
    label = METRICS[e.metric].label
    what = f"{label} per user" if METRICS[e.metric].denominator is None else label
    truth = f"; the true effect is {percent(e.true_lift)}" if e.true_lift is not None else ""
    if not np.isfinite(e.lift):
        return f"{e.arm} against {e.control}: nothing to compare on {what}."
    holm = f", Holm-adjusted p = {e.pvalue_adjusted:.2g}"
    interval = f"95 % interval {percent(e.low)} to {percent(e.high)}"
    if e.pvalue_adjusted < 1 - LEVEL:
        word = _wins(e.metric, e.lift)
        return (
            f"{'In this world and training run ' if simulated else ''}{e.arm} {word} {e.control} on"
            f" {what} by {percent(abs(e.lift))} ({_absolute_interval(e)}{holm}){truth}."
        )
    return (
        f"No difference found between {e.arm} and {e.control} on {what}: {percent(e.lift)}"
        f" ({interval}{holm}); the test could have seen {percent(e.detectable)} or more{truth}."
    )


def looked_verdict(e: Effect, looks: dict[str, Any], day: int, simulated: bool) -> str:
    """One sentence about a test that somebody looks at every day, at a crossing, under way, or at
    its planned end.
    """
    label, truth = (
        METRICS[e.metric].label,
        f"; the true effect is {percent(e.true_lift)}" if e.true_lift is not None else "",
    )
    if not looks["looks"]:
        return f"{e.arm} against {e.control}: too little to look at on {label} in {day} days."
    interval = f"{percent(looks['low'])} to {percent(looks['high'])}"
    if looks["stopped"]:
        word = _wins(e.metric, looks["lift"])
        low, high = (
            (looks["low"], looks["high"]) if looks["lift"] > 0 else (-looks["high"], -looks["low"])
        )
        p = f", p = {looks['pvalue']:.2g}" if looks["pvalue"] is not None else ""
        begin = "Stopped" if looks["stopped"] == day and simulated else "Crossed its bound"
        return (
            f"{begin} on day {looks['stopped']} of {looks['planned']}: {e.arm} {word} {e.control}"
            f" on {label} by {percent(abs(looks['lift']))} (95 % interval {percent(low)} to"
            f" {percent(high)}{p}, adjusted for the looks){truth}."
        )
    if day < looks["planned"]:
        if looks["method"] == "none":
            return (
                f"Day {day} of {looks['planned']}: {e.arm} against {e.control} has"
                f" {percent(looks['lift'])} on {label} so far; without a --monitor nothing is"
                " concluded before the end."
            )
        return (
            f"Day {day} of {looks['planned']}, no bound crossed: {e.arm} against {e.control} has"
            f" {percent(looks['lift'])} on {label} so far (interval that holds for all looks"
            f" {interval}); nothing is concluded yet{truth}."
        )
    return (
        f"No difference found between {e.arm} and {e.control} on {label} with a look a day:"
        f" {percent(looks['lift'])} ({interval}, adjusted for the looks){truth}."
    )


def _wins(metric: str, lift: float) -> str:
    return "beats" if (lift > 0) == METRICS[metric].higher_is_better else "loses to"


def _absolute_interval(e: Effect) -> str:
    low, high = (e.low, e.high) if e.lift > 0 else (-e.high, -e.low)
    return f"95 % interval {percent(low)} to {percent(high)}"


def true_verdict(row: dict[str, Any]) -> str:
    """One sentence about the twin worlds."""
    return (
        f"True effect of {row['arm']} against {row['control']} on {METRICS[row['metric']].label}:"
        f" {percent(row['true_lift'])} (every one of {row['users']} users in both worlds)."
    )


def lights(results: dict[str, Any]) -> list[dict[str, str]]:
    """Three lights with words: sample ratio, A/A before the test, fidelity of the users."""
    found = []
    ratio = results["sample_ratio"]
    if ratio is not None and np.isfinite(ratio["pvalue"]):
        bad = ratio["pvalue"] < 0.001
        text = (
            f"p = {ratio['pvalue']:.2g} (alarm below .001): bucket sizes are"
            f" {'not ' if bad else ''}what the weights say"
        )
        found.append({"name": "Sample ratio", "colour": "red" if bad else "green", "text": text})
    daily = results.get("sample_ratio_every_day")
    if daily is not None and daily["day"] is not None:
        text = (
            f"from day {daily['day']} on who came is not split as the weights say (p ="
            f" {daily['pvalue']:.2g}, any number of looks)"
        )
        found.append({"name": "Sample ratio, every day", "colour": "red", "text": text})
    before = results["before_test"]
    if before is not None and before["rows"]:
        known = [row for row in before["rows"] if np.isfinite(row["pvalue"])]
        worst = min(known, key=lambda row: row["pvalue"]) if known else None
        if worst is None:
            colour, text = "amber", "there is too little before the test to compare the buckets"
        else:
            least = worst["pvalue"]
            colour = "red" if least < 0.001 else "amber" if least < 0.05 else "green"
            found_out = (
                "differed"
                if least < 0.001
                else "may have differed"
                if least < 0.05
                else "did not differ"
            )
            text = f"p = {least:.2g} (alarm below .001): before the test the buckets {found_out}"
            text += (
                f" ({worst['arm']} {percent(worst['lift'])}, {percent(worst['low'])} to"
                f" {percent(worst['high'])})"
            )
        found.append({"name": "A/A before the test", "colour": colour, "text": text})
    uneven = [row for row in results["sample_ratio_by_segment"] if row["pvalue_adjusted"] < 0.001]
    if uneven:
        where = ", ".join(f"{row['segment']} = {row['level']}" for row in uneven[:3])
        found.append(
            {
                "name": "Sample ratio by segment",
                "colour": "red",
                "text": f"bucket sizes are off in {where}",
            }
        )
    numbers = results["users"].get("numbers", {})
    if numbers:
        assumed = sorted(name for name, number in numbers.items() if number["status"] == "assumed")
        length, returns = "leave" in assumed, any(name.startswith("gap_") for name in assumed)
        text = f"{len(numbers) - len(assumed)} of {len(numbers)} numbers estimated; session length "
        text += (
            f"{'assumed' if length else 'estimated'}, return times"
            f" {'assumed' if returns else 'estimated'}"
        )
        text += "; not held against held-out days here: python -m simulator.validate does that"
        found.append({"name": "Fidelity of the users", "colour": "amber", "text": text})
    return found


ASSUMED_ANSWERS = {
    "long_views": "long_view",
    "likes": "like",
    "hates": "hate",
    "watch_time": "watch_long",
}


def of_simulation(results: dict[str, Any], contenders: list[str]) -> list[str]:
    """Which metrics stand on assumed users alone, and why nothing is compared where nothing is."""
    numbers = results["users"].get("numbers", {})
    made_up = [
        METRICS[name].label
        for name, number in ASSUMED_ANSWERS.items()
        if name in METRICS and number in numbers and numbers[number]["status"] == "assumed"
    ]
    found = []
    if made_up:
        found.append(f"the log tells nothing of {', '.join(made_up)}: here they are assumed")
    if len(contenders) < 2:
        found.append(
            f"nothing is compared: {contenders[0] if contenders else 'no arm'} alone is a"
            " contender, uniform and oracle are references; --policies wants two contenders for a"
            " verdict"
        )
    return found


def interaction_sentence(test: dict[str, Any]) -> str:
    """Whether an effect differs between the levels of a segment."""
    p = f"p = {test['pvalue_adjusted']:.2g}"
    if test["pvalue_adjusted"] < 0.05:
        return f"The effect of {test['arm']} differs by {test['segment']} ({p})"
    return f"The effect of {test['arm']} is not shown to differ by {test['segment']} ({p})"


def who(results: dict[str, Any]) -> list[str]:
    """One line per segment about whether the effect differs, or one that says that
    there are none.
    """
    tests = results["segments"]["tests"]
    if not tests and results["segments"].get("asked"):
        return [
            f"No segment ({', '.join(results['segments']['asked'])}) has two levels with 50 users"
            " in each arm."
        ]
    if not tests:
        return [
            "No segments: they want a time before the test, or columns that say what users are."
        ]
    return [interaction_sentence(test) + "." for test in tests]


def monitoring(results: dict[str, Any]) -> list[str]:
    """What looking every day would have found, in sentences."""
    found = []
    for row in results["monitor"]:
        if not row["looks"]:
            continue
        name = {
            "obrien_fleming": "O'Brien-Fleming-type bounds",
            "pocock": "Pocock-type bounds",
            "cs": "a confidence sequence",
        }
        method = name.get(row["method"])
        if method is None:
            continue
        last = row["looks"][-1]
        interval = f"{percent(row['lift'])} ({percent(row['low'])} to {percent(row['high'])})"
        if row["stopped"]:
            found.append(
                f"Looked at every day with {method}, {row['arm']} against {results['control']}"
                f" first crosses on day {row['stopped']} of {row['planned']}; adjusted for the"
                f" looks the lift is then {interval}."
            )
        else:
            found.append(
                f"Looked at every day with {method}, {row['arm']} against {results['control']}"
                f" crosses none in {last['day']} of {row['planned']} days; the lift, with an"
                f" interval that allows for the looks, is {interval}."
            )
    return found


FEW_ROWS = 200


def off_policy_words(results: dict[str, Any]) -> str:
    """What the off-policy estimates are and are not."""
    found = results["off_policy"]
    if found["missing"] is not None:
        return f"No off-policy estimate: {found['missing']}."
    few = min(row["effective_n"] for row in found["rows"]) < FEW_ROWS
    return (
        "Clicks per impression that each contender would have had in the visits of an arm whose"
        " probabilities are known, estimated from that arm's rows alone (intervals by user). The"
        " visits are those of the logging arm: what users had seen and clicked before, and how"
        " tired they were, came of it. The contender's own column in the test, and the true one,"
        " are of users that it served itself."
        + (
            f" Fewer than {FEW_ROWS} effective rows: too few to lean on, and for the normal"
            " intervals."
            if few
            else ""
        )
    )


def chances(rows: list[dict[str, Any]]) -> str:
    """The p-values of the primary metric said again as chances."""
    told = [
        f"{row['arm']} {row['chance_to_win']:.3f}"
        for row in rows
        if row["role"] == "primary" and np.isfinite(row["chance_to_win"])
    ]
    control = rows[0]["control"]
    return (
        f"Chance to be better than {control}, under a flat prior (the one-sided p-value said"
        f" again): {', '.join(told)}."
        if told
        else ""
    )


def against_truth(rows: list[dict[str, Any]]) -> list[str]:
    """What a live test like this one would have concluded, and whether that is so; a sentence per
    contender.
    """
    found = []
    for row in rows:
        true = row["true_lift"]
        if row["role"] != "primary" or true is None or not np.isfinite(row["lift"]):
            continue
        shown = row["pvalue_adjusted"] < 1 - LEVEL
        covered = row["low"] <= true <= row["high"]
        inside = (
            f"its interval {'holds' if covered else 'does NOT hold'} the true effect of"
            f" {percent(true)}"
        )
        if not shown:
            said = "no difference" + (
                f", while the true effect is {percent(true)}: too small for this test"
                if covered and true
                else ""
            )
        elif (row["lift"] > 0) == (true > 0):
            said = f"the right sign, off by {percent(row['lift'] - true)}"
        else:
            said = f"the WRONG sign: {percent(row['lift'])} where {percent(true)} is true"
        found.append(
            f"A live test like this one would have said of {row['arm']} against {row['control']}:"
            f" {said}; {inside}."
        )
    return found


def distrust(results: dict[str, Any]) -> list[str]:
    """What stands above the verdict where a light is red."""
    red = [light for light in results["lights"] if light["colour"] == "red"]
    return [
        f"Do not trust the figures below: {light['name'].lower()}, {light['text']}."
        for light in red
    ]


def reading(results: dict[str, Any]) -> list[str]:
    """What the numbers are and are not, in sentences."""
    rows, settings = results["effects"]["rows"], results["manifest"]["experiment"]
    found = monitoring(results)
    if rows:
        found.append(
            f"n = {rows[0]['n_control']} users in the control; users are the unit of randomisation"
            " and of analysis. Lifts by tea-tasting (delta method), CUPED on the time before the"
            " test, where there is one (the means beside them are not adjusted); the primary"
            " metric (★) is corrected over arms by Holm, all others by Benjamini-Hochberg;"
            " intervals are not corrected. Detectable: the effect found with probability .80."
        )
    found += [chances(rows)] if rows else []
    found += against_truth(rows)
    if any(row["true_lift"] is not None for row in rows) or results["true_effects"]["rows"]:
        found.append(
            "The true effect compares worlds in which everybody gets one arm; no live test can know"
            " it. It speaks of these models: an arm that retrains on a bucket learns from fewer"
            " users than one that serves everybody."
        )
    if settings is None:
        return found
    if settings["learn_from"] == "own" and settings["rounds"] > 1 and rows:
        found.append(
            "Users who share a retrained model are no independent replicates of the algorithm: the"
            " claim is about this training run."
        )
    if settings["learn_from"] == "all" and settings["rounds"] > 1:
        found.append(
            "The arms learned from each other's rows: the difference between them is biased,"
            " usually towards zero."
        )
    return found
