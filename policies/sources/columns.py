"""The columns of a log by their roles, with the place of every value."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from policies.common.errors import InputError, shown
from policies.sources.files import place_in
from policies.sources.values import in_order, refuse_twins, release_unused
from policies.sources.values import numbers as numbers_of
from policies.sources.values import text as text_of

LONGEST_ID = 500  # characters; a longer one is a sign of a stray quote


class Columns:
    """The rows of a log, each column by its role; refuses with file, line, column and value."""

    def __init__(self, roles: dict[str, pa.Array], names: dict[str, str], path: Path, n: int):
        self.roles, self.names, self.path, self.n = roles, names, path, n
        self.lines: np.ndarray | range = range(n)

    def __contains__(self, role: str) -> bool:
        return role in self.roles

    def __len__(self) -> int:
        return len(self.lines)

    def kept(self, rows: np.ndarray) -> "Columns":
        """The rows of a mask."""
        mask = pa.array(rows)
        part = Columns(
            {role: values.filter(mask) for role, values in self.roles.items()},
            self.names,
            self.path,
            self.n,
        )
        part.lines = np.asarray(self.lines)[rows]
        return part

    def release(self, *roles: str) -> None:
        """Gives back the memory of columns that have been read. They are still said to be there."""
        for role in roles:
            if role in self.roles:
                self.roles[role] = pa.nulls(0)
        release_unused()

    def place(self, role: str) -> Callable[[int], str]:
        """What says where row i of a column stands."""
        name = self.names.get(role, role)
        column = f", column '{shown(name)}'"

        def of(row: int) -> str:
            return place_in(self.path, int(self.lines[row])) + column

        return of

    def numbers(self, role: str) -> np.ndarray:
        """(n,) finite float64.

        Raises:
            InputError: a value that is missing, infinite or no number.
        """
        found = numbers_of(self.roles[role], self.place(role), role)
        wrong = ~np.isfinite(found)
        if wrong.any():
            row = int(np.argmax(wrong))
            what = "missing" if np.isnan(found[row]) else f"{found[row]:g}"
            raise InputError(
                f"{self.place(role)(row)}: {int(wrong.sum())} of {len(self)} values for {role} are"
                f" missing or not finite (the first is {what}); fill them, or leave {role} out of"
                " --columns"
            )
        return found

    def whole(self, role: str) -> np.ndarray:
        """(n,) as `numbers`, but whole numbers in the type that the file has them in."""
        found = self.roles[role]
        if pa.types.is_integer(found.type) and not found.null_count:
            return found.to_numpy()
        return self.numbers(role)

    def sparse(self, role: str) -> np.ndarray:
        """(n,) float64, NaN where missing."""
        return numbers_of(self.roles[role], self.place(role), role)

    def text(self, role: str) -> pa.Array:
        """(n,) strings, null where missing."""
        return text_of(self.roles[role], self.place(role), role)

    def ids(self, role: str, advice: str) -> tuple[np.ndarray, np.ndarray]:
        """Codes 1..n and the ids as text.

        Raises:
            InputError: one is missing, or is no id.
        """
        whole = pa.types.is_integer(self.roles[role].type)
        found = self.roles[role] if whole else self.text(role)
        if found.null_count:
            row = int(np.argmax(found.is_null().to_numpy(zero_copy_only=False)))
            raise InputError(
                f"{self.place(role)(row)}: {found.null_count} of {len(found)} rows have no {role};"
                f" {advice}"
            )
        codes, names = in_order(found)
        if whole:
            return codes, names
        refuse_twins(names, role)
        odd = [name for name in names if len(name) > LONGEST_ID or "\x00" in name]
        if odd:
            row = int(np.argmax(codes == 1 + int(np.flatnonzero(names == odd[0])[0])))
            raise InputError(
                f"{self.place(role)(row)}: '{shown(odd[0], 40)}' for {role} is no id (more than"
                f" {LONGEST_ID} characters, or a null byte in it)"
            )
        return codes, names
