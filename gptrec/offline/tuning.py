"""Choosing settings on the validation part: the same number of tries, over the same ranges, for
every network.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from gptrec.offline.trials import settings_for
from policies.common.files import save_json, save_text
from policies.draws import generator

# What all networks share, and what only some have. The first choice is always the defaults.
SHARED: dict[str, list[Any]] = {
    "dropout": [0.2, 0.3, 0.4, 0.5],
    "rate": [1e-3, 2e-3, 3e-3, 5e-3],
    "width": [64, 128, 192],
    "layers": [1, 2, 3],
    "temperature": [0.06, 0.07, 0.08, 0.1],
    "sampled": [2048, 4096],
    "batch_tokens": [512, 1024, 2048],
    "untied": [True, True, False],
}
KEPT = 0.5  # chance that a draw leaves a setting at its default
OWN: dict[str, dict[str, list[Any]]] = {
    "bert4rec": {"hidden": [0.2, 0.4, 0.6], "last_only": [0.1, 0.3, 0.5]},
    "gptrec": {
        "user_dropout": [0.6, 0.9, 0.97],
        "prompt_budget": [0.2, 0.4],
        "placement": ["random", "every", "last"],
        "hard_negatives": [False, True],
    },
}


def choices(model: str, n: int) -> list[dict[str, Any]]:
    """n settings: the defaults, then draws that leave about half of them as they are; networks
    share what they share.
    """
    shared = generator("tuning", "shared")
    own = generator("tuning", model)
    configurations: list[dict[str, Any]] = [{}]
    for _ in range(n - 1):
        configurations.append(_drawn(SHARED, shared) | _drawn(OWN.get(model, {}), own))
    return configurations


def _drawn(ranges: dict[str, list[Any]], rng: np.random.Generator) -> dict[str, Any]:
    values = {key: values[int(rng.integers(len(values)))] for key, values in ranges.items()}
    kept = rng.random(len(values)) < KEPT
    return {
        key: value for (key, value), leave in zip(values.items(), kept, strict=True) if not leave
    }


def keep(results: list[dict[str, Any]], out: Path) -> None:
    """Writes every trial to tuning.jsonl and the best settings per model to best.json."""
    lines = [
        json.dumps(
            {
                "model": r["task"]["model"],
                "settings": r["task"]["settings"],
                "steps": r["task"]["steps"],
                "valid": r["valid"],
                "train_seconds": r["train_seconds"],
            }
        )
        for r in results
    ]
    save_text(out / "tuning.jsonl", "\n".join(lines) + "\n")
    save_json(
        out / "best.json",
        {model: settings_for(model, r["task"]["settings"]) for model, r in _best(results).items()},
    )


def best_lines(results: list[dict[str, Any]]) -> list[str]:
    """A sentence per model."""
    return [
        f"{model}: validation NDCG@10 {r['valid']['ndcg@10']:.4f} with"
        f" {json.dumps(r['task']['settings'])}"
        for model, r in _best(results).items()
    ]


def _best(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    models = dict.fromkeys(r["task"]["model"] for r in results)
    return {
        m: max((r for r in results if r["task"]["model"] == m), key=lambda r: r["valid"]["ndcg@10"])
        for m in models
    }
