"""How well answers are foretold, and the shift that gets their level right."""

import numpy as np
from scipy.special import expit


def auc(chance: np.ndarray, answer: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Area under the ROC curve, rows by weight; nan where all answers that count are alike."""
    from sklearn.metrics import roc_auc_score  # takes most of a second

    told = answer if weight is None else answer[weight > 0]
    if not 0 < told.sum() < len(told):
        return float("nan")
    return float(roc_auc_score(answer > 0, chance, sample_weight=weight))


def shift_of(logit: np.ndarray, answer: np.ndarray, weight: np.ndarray | None = None) -> float:
    """What is to be added to logits so that as many answers are foretold as were given."""
    weight = np.ones(len(logit)) if weight is None else weight
    shift = 0.0
    for _ in range(100):
        chance = expit(shift + logit)
        step = weight @ (answer - chance) / max(weight @ (chance * (1 - chance)), 1e-9)
        shift += float(np.clip(step, -1, 1))
        if abs(step) < 1e-9:
            break
    return shift
