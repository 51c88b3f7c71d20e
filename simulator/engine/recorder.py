"""From waves of pages to Parquet parts: `impressions/bucket=NAME/round=NN/part-WRITER-000.parquet`,
and `truth/` beside.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies.common.files import Listed, listed, whole
from policies.log import COLUMNS, Impressions

WARMUP = "warmup"
WOULD = "would "  # columns of what another arm would have shown
WOULD_CLICK = "would click "  # and of the true chance of a click on it
_WRITTEN = [name for name in COLUMNS if name not in ("bucket", "round", "weight", "shown")]
_FLUSH_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One file: which bucket and round, and the span of its times.

    Attributes:
        files: path of each file of this part below the world's own folder (impressions, and beside
            them truth and off-policy) -> rows and checksum.
    """

    bucket: str
    round: int
    name: str
    first: float
    last: float
    rows: int
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


class Sink(Protocol):
    """Where the engine's rows go.

    Attributes:
        truth: whether appeal and true click probability are wanted.
        counterfactual: whether the slates that other arms would have shown are wanted.
    """

    truth: bool
    counterfactual: bool

    def add(self, bucket: str, round_: int, page: dict[str, np.ndarray]) -> None:
        """One page of a wave: arrays of its users (B,) and of the places on its slates (B, K)."""
        ...

    def flush(self) -> None:
        """Nothing is left waiting."""
        ...


class Recorder:
    """Writes what the engine saw.

    Args:
        folder: of the impressions; made at the first flush.
        truth_folder: of the true probabilities, or None not to write them.
        counterfactual_folder: of what other arms would have shown, columns `would ARM`; or None.
        writer: a name in the names of its files, where several write into one folder.
    """

    def __init__(
        self,
        folder: Path,
        truth_folder: Path | None = None,
        counterfactual_folder: Path | None = None,
        writer: str = "0",
    ):
        self.folder, self.truth_folder = folder, truth_folder
        self.counterfactual_folder, self.writer = counterfactual_folder, writer
        self.truth = truth_folder is not None
        self.counterfactual = counterfactual_folder is not None
        self.parts: list[Part] = []
        self._waiting: dict[tuple[str, int], list[dict[str, np.ndarray]]] = {}
        self._rows = 0

    def add(self, bucket: str, round_: int, page: dict[str, np.ndarray]) -> None:
        """One page of a wave: every column of impressions that is written but `slot`, plus appeal
        and probability.
        """
        self._waiting.setdefault((bucket, round_), []).append(page)
        self._rows += page["item"].size
        if self._rows >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what is waiting, one part per bucket and round."""
        for (bucket, round_), pages in sorted(self._waiting.items()):
            self._write(bucket, round_, _rows_of(pages))
        self._waiting.clear()
        self._rows = 0

    def _write(self, bucket: str, round_: int, columns: dict[str, np.ndarray]) -> None:
        number = sum(1 for part in self.parts if (part.bucket, part.round) == (bucket, round_))
        name = f"bucket={bucket}/round={round_:02d}/part-{self.writer}-{number:03d}.parquet"
        kept = {key: columns[key] for key in _WRITTEN}
        table = pa.table(
            {key: pa.array(value, from_pandas=key == "propensity") for key, value in kept.items()}
        )
        written = [_write_table(table, self.folder / name)]
        if self.truth_folder is not None:
            keys = ("time", "user", "session", "page", "slot", "item", "appeal", "probability")
            written.append(
                _write_table(
                    pa.table({key: columns[key] for key in keys}), self.truth_folder / name
                )
            )
        would = [key for key in columns if key.startswith(WOULD)]
        if self.counterfactual_folder is not None and would:
            shown = ("time", "user", "session", "page", "slot", "item", "clicked", "propensity")
            written.append(
                _write_table(
                    pa.table({key: columns[key] for key in (*shown, *would)}),
                    self.counterfactual_folder / name,
                )
            )
        time = columns["time"]
        files: Listed = {}
        for path in written:
            files |= listed(self.folder.parent, path, len(time))
        self.parts.append(
            Part(bucket, round_, name, float(time.min()), float(time.max()), len(time), files)
        )

    @property
    def files(self) -> Listed:
        """All files, their paths below the folder that holds the impressions' one."""
        return {name: entry for part in self.parts for name, entry in part.files.items()}

    def rows(self, buckets: dict[str, int], start: float, end: float) -> Impressions:
        """`read_rows` of what this one has written."""
        self.flush()
        return read_rows([(self.folder, part) for part in self.parts], buckets, start, end)

    def forget(self, buckets: list[str]) -> None:
        """Takes away what a writer of this name left of these buckets that was killed half-way."""
        mine = f"round=*/part-{self.writer}-*"
        for folder in (self.folder, self.truth_folder, self.counterfactual_folder):
            if folder is not None:
                for bucket in buckets:
                    for file in (folder / f"bucket={bucket}").glob(mine):
                        file.unlink(missing_ok=True)


def _rows_of(pages: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Pages as columns, a row for each place of a slate."""
    k = pages[0]["item"].shape[1]
    rows = {}
    for name in pages[0]:
        whole_ = np.concatenate([page[name] for page in pages])
        rows[name] = whole_.ravel() if whole_.ndim == 2 else np.repeat(whole_, k)
    rows["slot"] = np.tile(np.arange(k, dtype=np.int8), len(rows["item"]) // k)
    return rows


def read_rows(
    parts: Iterable[tuple[Path, Part]], buckets: dict[str, int], start: float, end: float
) -> Impressions:
    """The impressions of these buckets with start <= time < end, in canonical order: whoever wrote
    them, and in how many parts.

    Args:
        parts: each with the folder that its name begins at. buckets: name -> code to write into the
            `bucket` column.
    """
    read = [
        _read(folder / part.name, part, buckets[part.bucket], start, end)
        for folder, part in parts
        if part.bucket in buckets and part.last >= start and part.first < end
    ]
    return Impressions.concat(read).sorted()


def _read(path: Path, part: Part, code: int, start: float, end: float) -> Impressions:
    """The rows of one part between two times."""
    table = pq.read_table(path, partitioning=None)
    columns = {name: table[name].to_numpy() for name in _WRITTEN}
    inside = (columns["time"] >= start) & (columns["time"] < end)
    columns = {name: value[inside] for name, value in columns.items()}
    n = int(inside.sum())
    return Impressions.of(bucket=np.full(n, code), round=np.full(n, part.round), **columns)


def _write_table(table: pa.Table, path: Path) -> Path:
    """Whole or not at all."""
    with whole(path) as beside:
        pq.write_table(
            table,
            beside,
            compression="zstd",
            compression_level=1,
            row_group_size=1 << 20,
            use_dictionary=["item"],  # the others run in repeats, which zstd sees by itself
            write_statistics=False,
        )
    return path
