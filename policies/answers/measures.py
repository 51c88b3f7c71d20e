"""How well answers are foretold."""

import numpy as np


def auc(chance: np.ndarray, answer: np.ndarray, weight: np.ndarray) -> float:
    """Probability that an answered row is put above another one, ties half; rows by weight; nan
    where all answers are alike.
    """
    order = np.argsort(chance, kind="stable")
    at, y, w = chance[order], answer[order] > 0, weight[order]
    first = np.concatenate([[True], at[1:] != at[:-1]])
    group = np.cumsum(first) - 1
    no = np.bincount(group, np.where(y, 0.0, w))
    yes = np.bincount(group, np.where(y, w, 0.0))
    below = np.cumsum(no) - no
    pairs = yes.sum() * no.sum()
    return float((yes * (below + no / 2)).sum() / pairs) if pairs else float("nan")
