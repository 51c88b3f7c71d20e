"""Models against each other on rows that were shown later: what is clicked when it is shown?

Each model is trained on the rows before a moment, as a run of the simulator would train it, and
foretells the answers to the rows after it, page by page, from what was known before each page.
Beside the models stand the levels of users and items alone, of the same rows: what a model says
beyond them is what it knows of who likes what.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from policies.answers.levels import Content, Levels
from policies.answers.measures import auc, shift_of
from policies.answers.rows import Rows, rows_of
from policies.base import KINDS, Foretells
from policies.calls import foretell, train
from policies.common.errors import InputError
from policies.common.files import load_arrays, save_arrays, save_json, save_text
from policies.common.tables import Table
from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.registry import find, make

LEVELS = "user + item levels"
BINS = 20  # of a calibration, with as many rows each
DRAWS = 200  # of users, and of answers
LEAST = 30  # answers of a kind, either way, among the rows held out
NAMES = {"clicked": "click", "long_view": "long view", "liked": "like"}


@dataclass(frozen=True)
class Split:
    """A log in two parts.

    Attributes:
        early: what models are trained on, choices before the log included. late: by user.
        rows: the late ones that were shown.
    """

    data: Dataset
    early: Impressions
    late: Impressions
    rows: Rows


def split_at(data: Dataset, since: str | None, share: float) -> Split:
    """
    Args:
        since: a date or time (UTC) from which rows are held out; None = the last `share` of them.

    Raises:
        InputError: the log shows no skips, or a part is empty.
    """
    log = data.for_policies()
    if "skips" not in data.has:
        raise InputError(
            f"--protocol impressions: '{data.name}' shows no skips, so that nothing says what was"
            " shown; leave --protocol out"
        )
    cut = float(np.quantile(log.time[log.shown], 1 - share))
    if since is not None:
        try:
            when = datetime.fromisoformat(since)
        except ValueError:
            raise InputError(f"--since '{since}': wanted a date such as 2022-05-01") from None
        if data.ended is None:
            raise InputError("--since: the log does not say when it was; use --held-out .2")
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        cut = when.timestamp() - data.ended
    early, late = log.rows(log.time < cut), log.rows((log.time >= cut) & log.shown).by_user()
    if not early.shown.any() or not len(late):
        raise InputError(
            f"--since {since}: {int(early.shown.sum())} rows before it and {len(late)} after it;"
            " wanted some of both"
        )
    return Split(data, early, late, rows_of(late, data.catalogue))


def foretold(
    split: Split, model: str, settings: dict[str, Any], seed: int
) -> dict[str, np.ndarray]:
    """Kind -> (n,) probabilities of the answers to the rows held out."""
    policy = make(model, settings)
    train(model, "fit", policy, split.early, split.data.catalogue, generator("impressions", seed))
    return foretell(model, policy, split.late, split.data.catalogue)


def _by_levels(split: Split) -> dict[str, np.ndarray]:
    """What users and items alone say."""
    rows = _without_exposures(rows_of(split.early.by_user(), split.data.catalogue))
    held, catalogue = _without_exposures(split.rows), split.data.catalogue
    content = Content.of(catalogue, np.zeros(catalogue.size + 1)).nothing()
    told = {}
    for kind in KINDS:
        if _enough(rows.answers[kind]):
            levels = Levels(content)
            levels.fit(rows, rows.answers[kind])
            told[kind] = expit(levels.logit(held))
    return told


def _without_exposures(rows: Rows) -> Rows:
    return replace(rows, seen=np.zeros_like(rows.seen), slot=np.zeros_like(rows.slot))


def _enough(answer: np.ndarray) -> bool:
    return bool(min(answer.sum(), len(answer) - answer.sum()) >= LEAST)


# -- measures --------------------------------------------------------------------------------------


def ece(chance: np.ndarray, answer: np.ndarray) -> float:
    """Expected calibration error, over BINS bins of as many rows (Naeini et al., AAAI 2015)."""
    order = np.argsort(chance, kind="stable")
    parts = np.array_split(order, BINS)
    return float(sum(abs((chance[p] - answer[p]).sum()) for p in parts) / len(chance))


def shifted(chance: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """The same after one shift of the level, so that as many answers are foretold as came."""
    at = logit(np.clip(chance, 1e-9, 1 - 1e-9))
    moved: np.ndarray = expit(at + shift_of(at, answer))
    return moved


def page_ndcg(chance: np.ndarray, answer: np.ndarray, page: np.ndarray) -> float:
    """Mean NDCG of the pages that have both answers, their rows in the order of the model; rows
    with equal chances as they stand.
    """
    order = np.lexsort((-chance, page))
    y, pages = answer[order], page[order]
    first = np.searchsorted(pages, pages)
    gain = 1 / np.log2(np.arange(len(y)) - first + 2)
    size = np.bincount(pages)
    clicks = np.bincount(pages, y).astype(np.int64)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(size.max()) + 2))])[clicks]
    mixed = (clicks > 0) & (clicks < size)
    if not mixed.any():
        return float("nan")
    return float((np.bincount(pages, y * gain)[mixed] / ideal[mixed]).mean())


def measured(
    told: dict[str, np.ndarray], levels: dict[str, np.ndarray], rows: Rows, seed: int
) -> list[dict[str, Any]]:
    """A row for each kind of answer; what the model has beyond the levels has an interval over
    users.
    """
    out = []
    for kind, chance in told.items():
        answer = rows.answers[kind]
        if not _enough(answer) or kind not in levels:
            continue
        rng = generator("impressions", "intervals", kind, seed)
        by_chance = [ece(chance, rng.random(len(chance)) < chance) for _ in range(DRAWS // 4)]
        level = shifted(chance, answer)
        by_level = [ece(level, rng.random(len(level)) < level) for _ in range(DRAWS // 4)]
        loss = -np.log(np.clip(np.where(answer > 0, chance, 1 - chance), 1e-9, 1)).mean()
        people, user = np.unique(rows.user, return_inverse=True)
        more = []
        for _ in range(DRAWS):
            weight = rng.poisson(1.0, len(people))[user].astype(np.float64)
            more.append(auc(chance, answer, weight) - auc(levels[kind], answer, weight))
        low, high = np.quantile(more, [0.025, 0.975])
        out.append(
            {
                "answer": NAMES[kind],
                "rows": len(answer),
                "users": len(people),
                "auc": auc(chance, answer),
                "beyond levels": auc(chance, answer) - auc(levels[kind], answer),
                "low": float(low),
                "high": float(high),
                "log-loss": float(loss),
                "ece": ece(chance, answer),
                "ece by chance": float(np.mean(by_chance)),
                "ece after a shift": ece(level, answer),
                "by chance": float(np.mean(by_level)),
                "page ndcg": _or_none(page_ndcg(chance, answer, rows.page)),
            }
        )
    return out


def _or_none(value: float) -> float | None:
    """None where pages have one row each, or all one answer: files know no nan."""
    return None if np.isnan(value) else value


# -- the command -----------------------------------------------------------------------------------


def can_foretell(model: str) -> bool:
    """Whether a model says how likely answers are, and not only what to show."""
    return issubclass(find(model), Foretells)


def evaluate(
    split: Split,
    models: list[tuple[str, dict[str, Any]]],
    seeds: int,
    out: Path,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Every model for every seed; what is done stays done in `out`. Writes results.json and
    results.md.
    """
    levels = _by_levels(split)
    results = []
    for model, settings in [(LEVELS, {}), *models]:
        for seed in range(1 if model == LEVELS else seeds):
            path = out / f"{model.replace(':', '.').replace(' ', '')}-{seed}.safetensors"
            if not path.exists():
                say(f"{model}, seed {seed}")
                told = levels if model == LEVELS else foretold(split, model, settings, seed)
                save_arrays(path, told or {"nothing": np.zeros(1)})
            told = {kind: told for kind, told in load_arrays(path).items() if kind in KINDS}
            for row in measured(told, levels, split.rows, seed):
                results.append({"model": model, "seed": seed, **row})
    save_json(out / "results.json", results)
    save_text(out / "results.md", table(results).markdown())
    return json.loads((out / "results.json").read_text())


def table(results: list[dict[str, Any]]) -> Table:
    """A line for each model and answer, means over seeds; intervals those of the widest seed."""
    lines = []
    for key in dict.fromkeys((row["model"], row["answer"]) for row in results):
        rows = [row for row in results if (row["model"], row["answer"]) == key]

        def mean(name: str, rows: list[dict[str, Any]] = rows) -> float:
            return float(np.mean([row[name] for row in rows]))

        low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
        lines.append(
            (
                *key,
                str(len(rows)),
                f"{mean('auc'):.4f}",
                f"{mean('beyond levels'):+.4f} ({low:+.4f} to {high:+.4f})",
                f"{mean('log-loss'):.4f}",
                f"{mean('ece'):.4f} ({mean('ece by chance'):.4f})",
                f"{mean('ece after a shift'):.4f} ({mean('by chance'):.4f})",
                f"{mean('page ndcg'):.4f}" if rows[0]["page ndcg"] is not None else "–",
            )
        )
    head = (
        "model",
        "answer",
        "seeds",
        "AUC",
        "AUC beyond levels (95 % over users)",
        "log-loss",
        "ECE (by chance alone)",
        "ECE after one shift",
        "NDCG of pages",
    )
    return Table(head, lines, text=2)
