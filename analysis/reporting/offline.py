"""Offline beside online: table, sentence and picture."""

from pathlib import Path
from typing import Any

import numpy as np

from analysis.reporting.figures import figure, hue
from analysis.reporting.sentences import advantage_share, counted
from analysis.reporting.tables import NO_NUMBER
from analysis.results.offline import Offline
from policies.common.tables import Table, number, percent, signed


def offline_table(rows: list[Offline], metric: str) -> Table:
    """A line per contender.

    Args:
        metric: the primary one, as it is called.
    """
    recalled = any(row.recalled is not None for row in rows)
    offline = ("NDCG@10 offline", "AUC offline", *(("recalled",) if recalled else ()))
    head = ("arm", *offline, f"{metric}, simulated", "lift", "true lift")
    body = [
        [
            row.arm,
            NO_NUMBER if row.ndcg10 is None else f"{row.ndcg10:.4f}",
            NO_NUMBER if row.auc is None else f"{row.auc:.3f}",
            *([NO_NUMBER if row.recalled is None else percent(row.recalled, 0)] * recalled),
            number(row.simulated),
            NO_NUMBER if row.lift is None else signed(row.lift),
            NO_NUMBER if row.true_lift is None else signed(row.true_lift),
        ]
        for row in rows
    ]
    return Table(head, body)


def offline_sentence(rows: list[Offline], advantage: list[dict[str, Any]]) -> str:
    """What was measured, and whether both orders agree; what the users have of taste where they do
    not.
    """
    users = max(row.users for row in rows)
    words = (
        "Offline: each contender trained on the first nine tenths of the log's clicks ranks all"
        f" items for {counted(users, 'user')} before their first click of the last tenth (NDCG@10),"
        " and foretells, where it can, which rows that were shown then are clicked (AUC)."
    )
    if any(row.recalled is not None for row in rows):
        words += (
            " Recalled: how much of the slates that answers would make of all items is among the"
            " items that they are given to order."
        )
    known = [row for row in rows if row.ndcg10 is not None]
    if len(known) < 2:
        return words
    offline = max(known, key=lambda row: row.ndcg10 or 0.0).arm
    online = dict(zip(known, online_of(known), strict=True))
    here = max(known, key=lambda row: online[row]).arm
    pairs = disagreements(known)
    if not pairs:
        return f"{words} Both orders are the same."
    words += " The orders disagree: " if offline != here else " The orders differ: "
    words += f"offline ranks {offline} first, these users rank {here} first"
    words += f" ({counted(len(pairs), 'pair')} of {len(known) * (len(known) - 1) // 2} turned)."
    share = advantage_share(advantage)
    if share is None:
        return words
    return (
        f"{words} Of what the best slates have over random ones, these users give"
        f" {percent(share, 0)} to one list for everybody that knows the items' levels; the rest is"
        " taste."
    )


def online_of(rows: list[Offline]) -> list[float]:
    """By what the simulated users order contenders: the true lift where it is known (0 of the
    control), else the primary metric.
    """
    if any(row.true_lift is not None for row in rows):
        return [row.true_lift or 0.0 for row in rows]
    return [row.simulated for row in rows]


def disagreements(rows: list[Offline]) -> list[tuple[str, str]]:
    """Pairs that offline and simulated users put in different orders."""
    online = online_of(rows)
    return [
        (rows[i].arm, rows[j].arm)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if ((rows[i].ndcg10 or 0.0) - (rows[j].ndcg10 or 0.0)) * (online[i] - online[j]) < 0
    ]


def offline_slopes(rows: list[Offline], arms: list[str], path: Path) -> str:
    """From the order offline to that of the simulated users, a line per contender; returns the
    caption.
    """
    known = [row for row in rows if row.ndcg10 is not None]
    places = []
    for values in ([row.ndcg10 or 0.0 for row in known], online_of(known)):
        order = np.argsort(np.argsort(-np.array(values), kind="stable"), kind="stable")
        places.append(-order)
    with figure(path, (6.4, 0.9 + 0.42 * len(known))) as (_, axis):
        for row, left, right in zip(known, *places, strict=True):
            colour = hue(row.arm, arms)
            axis.plot([0, 1], [left, right], color=colour, lw=2.2, marker="o", ms=7)
            axis.text(-0.04, left, f"{row.arm}  {row.ndcg10:.4f}", ha="right", va="center")
            axis.text(1.04, right, row.arm, ha="left", va="center")
        axis.set_xlim(-0.9, 1.9)
        axis.set_xticks([0, 1], ["NDCG@10 offline", "simulated users"])
        axis.set_yticks([])
        axis.set_ylim(-len(known) + 0.4, 0.6)
        for side in ("left", "right", "top", "bottom"):
            axis.spines[side].set_visible(False)
        axis.grid(False)
    return "Contenders in the order of the offline figure and in that of the simulated users."
