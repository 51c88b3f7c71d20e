"""A fidelity report: what to trust and what to do next, tables, pictures; as text and as a page."""

import json
from pathlib import Path
from typing import Any

from analysis.reporting.templates import template
from analysis.reporting.write import as_figure
from analysis.statistics.propensity import Estimate
from policies.common.files import save_text
from policies.common.tables import Table, in_markdown
from simulator.validation.fidelity import Fidelity
from simulator.validation.free_running import FreeRunning
from simulator.validation.learning import REAL, SIMULATED, Learning
from simulator.validation.policy_ranking import PolicyRanking
from simulator.validation.reporting.advice import ABOUT
from simulator.validation.reporting.lights import NOTHING, Light
from simulator.validation.reporting.pictures import draw
from simulator.validation.second_log import Difference, SecondFound
from simulator.validation.validation import Validation


def of_random_slates(level: dict[str, Any]) -> str:
    """What is said about the level that no log of a policy tells."""
    return (
        f"Uniformly random slates: {level['from_what_was_shown']:.3f} clicks per impression if what"
        f" was shown is all one knows, {level['calibrated']:.3f} with calibration"
        f" ({level['source']}). Of what was never shown no log tells."
    )


def light_table(rows: list[Light]) -> Table:
    head = ("part", "light", "what was found", "what to do")
    return Table(head, [[x.part, x.colour, x.words, x.advice] for x in rows], text=4)


def summary(rows: list[Light]) -> list[str]:
    """What to trust, in a sentence for each colour."""
    words = {
        "green": "Trust",
        "amber": "Use with care",
        "red": "Do not trust",
        NOTHING: "Cannot be told",
    }
    said = []
    for colour, word in words.items():
        parts = [x.part for x in rows if x.colour == colour]
        if parts:
            said.append(f"{word}: {', '.join(parts)}.")
    return said


def learning_table(found: Learning) -> Table:
    """NDCG@10 of every model by the world it learned from and the world it was tested in."""
    head = ("model", "learned from real, tested on real", "simulated, simulated", "ratio (95 %)")
    body = []
    for t in found.taught:
        low, high = t.ratio_interval
        cells = [_plus_minus(*t.within(world)) for world in (REAL, SIMULATED)]
        cells.append(f"{t.ratio:.2f} ({low:.2f} to {high:.2f})")
        cells += [_plus_minus(*t.ndcg[f"{a} > {b}"]) for a, b in CROSSED]
        body.append([t.policy, *cells])
    return Table((*head, "real, simulated", "simulated, real"), body)


CROSSED = ((REAL, SIMULATED), (SIMULATED, REAL))


def _plus_minus(value: float, error: float) -> str:
    return f"{value:.4f} ± {1.96 * error:.4f}"


def _matters(d: Difference) -> str:
    return "yes" if d.matters else "perhaps" if d.may_matter else "no"


def difference_table(found: SecondFound) -> Table:
    """What differs between two logs."""
    head = ("of the second log", "", "does it matter")
    rows = [[d.what, d.words, _matters(d)] for d in found.differences]
    return Table(head, rows, text=3)


def ranking_table(ranking: PolicyRanking) -> Table:
    """Policies by the log's propensities and by the users."""
    head = ("policy", "clicks per impression by the log (SNIPS, 95 %)", "effective rows")
    body = [
        [
            row.name,
            _rate(row.snips),
            f"{row.effective_n:.0f}",
            f"{row.users:.4f}",
            _rate(row.corrected),
        ]
        for row in ranking.rows
    ]
    return Table((*head, "simulated", "simulated, corrected by the log (95 %)"), body)


def _rate(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def free_table(free: FreeRunning) -> Table:
    """What free running gives beside the log."""
    head = ("free running", "log, fitted days", "simulated", "log, held-out days", "simulated")
    pairs = zip(free.levels, free.held_out, strict=True)
    body = [[name, *(f"{x:.3f}" for x in (a, b, c, d))] for (name, a, b), (_, c, d) in pairs]
    return Table(head, body)


def loss_table(fidelities: list[Fidelity]) -> Table:
    """Log-loss per row in nats."""
    head = (
        "feedback",
        "held-out rows",
        "log-loss: simulator",
        "user + item",
        "constant",
        "ceiling",
    )
    body = []
    for f in fidelities:
        losses = [f.log_loss[name] for name in ("simulator", "user + item", "constant")]
        body.append([f.name, str(f.rows), *(f"{x:.4f}" for x in (*losses, f.ceiling[1]))])
    return Table(head, body)


def title_of(about: dict[str, Any]) -> str:
    return f"Are the users to be believed? Users: {about['user_model']}; log: {about['log']}"


def held_out_words(about: dict[str, Any], v: Validation) -> str:
    """What was held against what."""
    if v.second is not None:
        return (
            f"Users made from {about['log']} answer the {v.second.rows} rows of"
            f" {about['test_log']}, as a run would have them; what they do is held against what"
            " happened."
        )
    if v.foretold is not None:
        return (
            "The log tells what was chosen alone. Users are fitted to all choices but the last one"
            " of each, which is held out."
        )
    return (
        f"Fitted on what came before the last {about['held_out_days']:g} calendar days; the users"
        " then answer the very slates that the log shows on those days; what is simulated freely"
        f" has slates of {about['slate_size']}."
    )


COLOURS = (
    "Green: within the bounds that docs/validation.md states; amber: use with care; red: do not"
    " trust this part; none: the log cannot tell."
)
CEILING = (
    "The ceiling is what a predictor would get that knows every probability, if the users were"
    " those simulated."
)


def sections(v: Validation) -> list[tuple[str, str, Table | None]]:
    """Title, words and table of each part that there is."""
    found: list[tuple[str, str, Table | None]] = []
    feedback = v.feedback
    if v.second is not None:
        feedback = v.second.feedback
        words = "What differs between the logs is told before what the users do in the second."
        found.append(("The two logs", words, difference_table(v.second)))
    if isinstance(v.taught, Learning):
        n = " and ".join(f"{count} in the {world} one" for world, count in v.taught.targets.items())
        words = (
            "The same models, trained on real and on simulated answers"
            f" ({_trainings(v.taught.seeds)} each), then asked for the next choice of users: {n}."
            " NDCG@10 among all items that the user had not chosen, ± 1.96 standard errors over"
            " users."
        )
        found.append(("Do models learn the same?", words, learning_table(v.taught)))
    if feedback:
        found.append(("Each answer", CEILING, loss_table(feedback)))
    if v.ranking is not None and v.ranking.rows:
        found.append(("Policies", "", ranking_table(v.ranking)))
    if v.free is not None:
        found.append(("Sessions and returns", "", free_table(v.free)))
    if v.random_slates is not None:
        found.append(("Uniformly random slates", of_random_slates(v.random_slates), None))
    return found


def _trainings(n: int) -> str:
    return "one training" if n == 1 else f"{n} trainings"


def write(
    v: Validation, rows: list[Light], about: dict[str, Any], notes: list[str], out: Path
) -> None:
    """`fidelity.html`, `fidelity.md` and the pictures.

    Args:
        rows: of lights. about: the settings. notes: on the log.
    """
    pictures = draw(v, out)
    parts = [
        f"# {title_of(about)}",
        *summary(rows),
        f"{held_out_words(about, v)} {COLOURS}",
        light_table(rows).markdown(),
    ]
    for title, words, table in sections(v):
        parts += [f"## {title}", *([words] if words else [])]
        parts += [table.markdown()] if table is not None else []
    parts += [f"![{caption}]({name}.png)" for name, caption in pictures.items()]
    parts += [f"* {in_markdown(note)}" for note in notes]
    save_text(out / "fidelity.md", "\n\n".join(parts) + "\n")
    save_text(out / "fidelity.html", html(v, rows, about, notes, pictures, out))


def html(
    v: Validation,
    rows: list[Light],
    about: dict[str, Any],
    notes: list[str],
    pictures: dict[str, str],
    out: Path,
) -> str:
    """The page: one file, no network, readable without a script."""
    figures = {name: as_figure(out / f"{name}.png", text) for name, text in pictures.items()}
    parts = [
        (title, words, "" if table is None else table.html(), PICTURE_OF.get(title, ""))
        for title, words, table in sections(v)
    ]
    return template("fidelity.html.jinja", Path(__file__).parent).render(
        title=title_of(about),
        summary=summary(rows),
        lights=sorted(rows, key=_urgency),
        about_kind=ABOUT,
        words=held_out_words(about, v),
        colours=COLOURS,
        sections=parts,
        figures=figures,
        notes=notes,
        settings=json.dumps(about, indent=1),
        command=about["command"],
    )


def _urgency(light: Light) -> tuple[bool, int]:
    """Whether two logs can be compared comes first, then red before amber before green."""
    return light.kind != "comparable", ("red", "amber", "green", NOTHING).index(light.colour)


PICTURE_OF = {"Do models learn the same?": "learning", "Each answer": "calibration"}
