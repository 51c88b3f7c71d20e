"""What to do next: a few sentences under the verdict, each with the command that does it; and the
words of the report explained.
"""

import re
import shlex
from html import escape
from typing import Any

from analysis.reporting.content import Report
from policies.common.tables import percent

MOST = 4  # sentences
# The settings that say how a log is read; the simulator's own list is held to it by a test.
OF_THE_LOG = (
    "log",
    "columns",
    "click_threshold",
    "click_when",
    "time_unit",
    "watch_unit",
    "calibrate",
)
# Words of the report -> what they mean. Longer ones first, so that they are found first.
GLOSSARY = {
    "true effect": "The difference between worlds in which everybody gets one arm, with the same"
    " users and the same random numbers. No live test can know it.",
    "sample ratio": "Whether the buckets have the sizes that were planned. Where they have not,"
    " something else than the policies differs between them.",
    "A/A": "The same comparison where there is no difference yet, before the test.",
    "guardrail": "A metric that need not improve, but must not get worse by more than the margin.",
    "CUPED": "An estimate less what users did before the test predicts of it: less variance, the"
    " same mean (Deng et al. 2013).",
    "Holm": "A correction for several contenders: the chance that any of them is called different"
    " by mistake stays below 5 % (Holm 1979).",
    "Fieller": "An interval of a ratio of two means that leaves out 0 exactly where the test does.",
    "R-hat": "How far chains that began apart still are: 1 where they have met.",
    "coverage": "Share of the items that were shown at all.",
    "Gini": "How unequally impressions are shared among items: 0 = all alike, 1 = one gets all.",
    "Lorenz": "The share of impressions that the least shown items have, from none of them to all.",
    "propensity": "The probability with which a page showed just this item in just this slot.",
    "calibrated": "Where things that are said to happen with 30 % do so in 30 of 100 cases.",
    "novelty": "An effect that fades because what is new pleases only for a while.",
    "lift": "The relative difference of a contender's mean from the control's.",
    "NDCG": "How high the item that was clicked stands in a ranking, 1 = first.",
    "AUC": "The chance that an item which was clicked is scored above one that was not.",
}


def next_steps(report: Report) -> list[str]:
    """At most four, the most urgent first."""
    red = [x.name.lower() for x in report.lights if x.colour == "red" and x.doubts]
    steps = (
        [f"Mend first what is red: {', '.join(red)}. Nothing else counts before."] if red else []
    )
    steps += _to_be_sure(report)
    if report.simulation is not None:
        steps += _of_users(report)
    return steps[:MOST]


def _to_be_sure(report: Report) -> list[str]:
    """Where a contender is not told apart from the control."""
    name = report.judgement.test.primary.name
    rows = [e for e in report.judgement.effects if e.metric == name and e.known]
    open_ = [row for row in rows if not row.pvalue_adjusted < 0.05]
    if not open_:
        return []
    row = min(open_, key=lambda row: row.detectable)
    source = "--table USERS" if report.simulation is None else "--run FOLDER"
    means = f"gptrec power {source}"
    return [
        f"Run longer or with more users: this test could have seen a lift of"
        f" {percent(row.detectable)} of {row.arm}. `{means} --mde 2%` says how many users or days."
    ]


def _of_users(report: Report) -> list[str]:
    """Whether what was found hangs on what is not known of the users."""
    assert report.simulation is not None
    steps, found = [], report.simulation.sensitivity
    hangs = (
        []
        if found is None
        else list(dict.fromkeys(x.number for x in [*found.turned(), *found.opened()]))
    )
    if hangs:
        steps.append(
            f"Find out: {', '.join(hangs)}. The verdict hangs on it. A little traffic with random"
            " slates tells most of it (`--calibrate`, `gptrec validate --test-log`)."
        )
    experiment: dict[str, Any] = report.manifest["experiment"]
    log = _flags(experiment)
    if not experiment["log"].startswith("world:"):
        model = experiment["user_model"]
        whose = "" if model == "factors" else f" --user-model {shlex.quote(model)}"
        steps.append(f"Ask whether these users are like yours: `gptrec validate {log}{whose}`.")
    if experiment["user_model"] == "factors" and len(experiment["policies"]) > 1:
        steps.append(
            "See whether the order stands before other kinds of users: the same once more with"
            " `--user-model all` (in Python `user_model='all'`)."
        )
    if experiment["rounds"] > 1:
        steps.append(
            "See what retraining does by itself: `gptrec study loop"
            f" {log} --policies {shlex.quote(','.join(experiment['policies']))}`."
        )
    return steps


def _flags(experiment: dict[str, Any]) -> str:
    """Of the log, as a command has them."""
    words = []
    for name in OF_THE_LOG:
        if experiment.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", str(experiment[name])]
    return shlex.join(words)


# -- in the page -----------------------------------------------------------------------------------


def with_code(text: str) -> str:
    """HTML of a sentence whose commands stand between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def anchor(term: str) -> str:
    return "word-" + re.sub(r"\W+", "-", term.lower())


_TERMS = re.compile(
    r"\b(" + "|".join(map(re.escape, sorted(GLOSSARY, key=len, reverse=True))) + r")s?\b", re.I
)
_BY_LOWER = {term.lower(): term for term in GLOSSARY}


def with_links(text: str) -> str:
    """HTML of a text in which the first of each word of the glossary leads there."""
    told: set[str] = set()

    def link(found: re.Match[str]) -> str:
        term = _BY_LOWER[found[1].lower()]
        if term in told:
            return found[0]
        told.add(term)
        return f'<a class="word" href="#{anchor(term)}">{found[0]}</a>'

    return _TERMS.sub(link, escape(text))
