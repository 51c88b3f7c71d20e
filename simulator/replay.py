"""What a user had on its mind at each row of a log: satiation and repeats, replayed from the exposures in order."""

import numpy as np
import pandas as pd

from policies.log import Impressions


def satiation(log: Impressions, category: np.ndarray, reach: np.ndarray, half_life_h: float) -> np.ndarray:
    """(rows,) expected examined exposures to the row's category on earlier pages, halving every `half_life_h`."""
    scale = half_life_h * 3600
    kind = category[log.item].astype(np.int64)
    weight = reach[np.minimum(log.slot, len(reach) - 1)]
    # One line per user, category and page; a stretch longer than 500 half-lives starts afresh (float64 would overflow).
    since = log.time - log.time.min()
    stretch = np.floor(since / (500 * scale)).astype(np.int64)
    frame = pd.DataFrame({"user": log.user, "kind": kind, "stretch": stretch, "time": since, "weight": weight})
    pages = frame.groupby(["user", "kind", "stretch", "time"], sort=True)["weight"].sum().reset_index()
    local = pages["time"] - pages["stretch"] * 500 * scale
    grown = pages["weight"] * np.exp2(local / scale)
    total = grown.groupby([pages["user"], pages["kind"], pages["stretch"]]).cumsum() - grown
    pages["satiation"] = total * np.exp2(-local / scale)
    found = frame.merge(pages, on=["user", "kind", "stretch", "time"], how="left", suffixes=("", "_page"))
    return np.where(kind > 0, found["satiation"].to_numpy(), 0.0)


def repeats(log: Impressions, recent: int) -> np.ndarray:
    """(rows,) how often the item was among the `recent` items shown before its page."""
    order = np.lexsort((log.slot, log.page, log.time, log.user))
    frame = pd.DataFrame({"user": log.user[order], "item": log.item[order]})
    place = frame.groupby("user").cumcount()
    before = place.groupby([frame["user"], frame["item"]]).shift()
    found = np.zeros(len(log))
    found[order] = ((place - before) <= recent).to_numpy(float)
    return found
