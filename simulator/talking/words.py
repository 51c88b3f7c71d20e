"""What a person types, and a page as he reads it."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policies.catalogue import Catalogue
from policies.common.errors import InputError, escaped
from simulator.talking.conversation import Conversation

HELP = (
    "numbers of what you click, such as 1 3; nothing = you skip them all; more like 3 = you click 3"
    " and want more of that; q = end"
)
NAMED = 3  # items that name an interest


@dataclass(frozen=True)
class Typed:
    """An answer to a page.

    Attributes:
        clicked: (K,) bool. more_like: slot from 0, or None.
    """

    clicked: np.ndarray
    more_like: int | None = None


def understood(text: str, k: int) -> Typed:
    """What was typed below a page of k items.

    Raises:
        InputError: it cannot be understood.
    """
    clicked, more = np.zeros(k, bool), None
    found = re.search(r"more\s+like\s+(\d+)", text.lower())
    rest = text.lower()
    if found is not None:
        more = _slot(found[1], k)
        clicked[more] = True
        rest = rest.replace(found[0], " ")
    for word in re.split(r"[\s,;]+", rest.strip()):
        if word in ("", "skip", "none", "and"):
            continue
        clicked[_slot(word, k)] = True
    return Typed(clicked, more)


def _slot(word: str, k: int) -> int:
    if not (word.isascii() and word.isdigit()) or not 1 <= int(word) <= k:
        raise InputError(f"'{word}' is no item of this page (1 to {k}); {HELP}")
    return int(word) - 1


class Names:
    """What items are called: by titles where a file has them, by the log's ids otherwise."""

    def __init__(self, catalogue: Catalogue, titles: dict[str, str] | None = None):
        titles = titles or {}
        if titles and not titles.keys() & set(map(str, catalogue.ids)):
            raise InputError("--titles: none of its items is one of this run's log")
        self._names = [titles.get(str(item), str(item)) for item in catalogue.ids]
        self._categories = np.array(catalogue.categories)[catalogue.category]

    def of(self, item: int) -> str:
        return escaped(self._names[item])

    def category(self, item: int) -> str:
        return escaped(str(self._categories[item]))

    def joined(self, items: Iterable[int]) -> str:
        return "; ".join(self.of(item) for item in items)


def titles_of(path: Path) -> dict[str, str]:
    """Titles by item id, from a CSV file with the columns `item` and `title`.

    Raises:
        InputError: there is no such file, or it has no such columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            missing = {"item", "title"} - set(rows.fieldnames or ())
            if missing:
                raise InputError(f"--titles '{path}': it lacks the column '{min(missing)}'")
            found = {}
            for row in rows:
                if None in row or row["title"] is None:
                    raise InputError(
                        f"--titles '{path}', line {rows.line_num}: it has another number of columns"
                        " than the first line; a title with a comma stands between quotes"
                    )
                found[row["item"]] = row["title"]
            return found
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"--titles '{path}': there is no such file") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"--titles '{path}': {error}") from None


def page_of(conversation: Conversation, names: Names) -> dict[str, Any]:
    """What is shown now: items with what the policy expects, and its interests."""
    slate, expected = conversation.slate(), conversation.expected()
    named = conversation.interests()
    chances = [None] * len(slate) if expected is None else [float(p) for p in expected]
    return {
        "page": conversation.page + 1,
        "items": [
            {"name": names.of(item), "category": names.category(item), "expected": chance}
            for item, chance in zip(slate.tolist(), chances, strict=True)
        ],
        "interests": [names.joined(row[:NAMED].tolist()) for row in named or []],
    }


def page_text(page: dict[str, Any]) -> str:
    """A page for the terminal."""
    width = max(len(item["name"]) for item in page["items"])
    aside = max(len(item["category"]) for item in page["items"])
    lines = [f"page {page['page']}"]
    for slot, item in enumerate(page["items"], 1):
        chance = item["expected"]
        told = "" if chance is None else f"  expects a click with {100 * chance:.0f} %"
        lines.append(f"{slot:3}  {item['name']:<{width}}  {item['category']:<{aside}}{told}")
    if page["interests"]:
        lines.append("its interests, by what each would say first:")
        lines += [f"     {number}. {text}" for number, text in enumerate(page["interests"], 1)]
    return "\n".join(line.rstrip() for line in lines)
