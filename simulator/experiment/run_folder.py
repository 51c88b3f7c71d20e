"""The run directory: manifest, tables, checkpoints. Everything is written beside and renamed: whole
or not at all.
"""

import platform
import shutil
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from policies.common.errors import InputError
from policies.common.files import Listed, check_listed, listed, reading, save_json, whole
from policies.common.folders import LOCK
from policies.common.manifests import (
    FORMAT,
    INCOMPLETE,
    WORLDS_DONE,
    check_seal,
    read_manifest,
    seal,
)
from policies.log import Dataset
from simulator.settings import Experiment, from_dict


# -- what the analysis needs -----------------------------------------------------------------------
def tables(
    experiment: Experiment, data: Dataset, ids: np.ndarray, bucket: np.ndarray | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users with their bucket (every arm in turn in a twin run), and items with their rank by
    clicks in the log and the rows that it has of them.
    """
    known = np.where(ids < data.n_users, ids, 0)
    names = np.where(ids < data.n_users, data.user_ids[known], [f"new-{i}" for i in ids])
    arm = np.array([*experiment.policies, None], dtype=object)
    users = pd.DataFrame(
        {"user": ids, "user_id": names, "bucket": arm[bucket] if bucket is not None else None}
    )
    clicks = np.bincount(data.log.item[data.log.clicked], minlength=data.catalogue.size + 1)[1:]
    percentile = pd.Series(clicks).rank(method="average", pct=True).to_numpy()
    items = pd.DataFrame(
        {
            "item": np.arange(1, data.catalogue.size + 1, dtype=np.int32),
            "item_id": data.catalogue.ids[1:],
            "category": np.array(data.catalogue.categories, dtype=object)[
                data.catalogue.category[1:]
            ],
            "popularity_percentile": 100 * percentile,
            "log_rows": np.bincount(data.log.item, minlength=data.catalogue.size + 1)[1:],
        }
    )
    return users, items


_PACKAGES = (
    "gptrec",
    "torch",
    "numpy",
    "numba",
    "scipy",
    "pandas",
    "pyarrow",
    "simpy",
    "tea-tasting",
    "statsmodels",
    "scikit-learn",
)


AGAIN = "start the run again in another folder"


@dataclass
class RunFolder:
    """One run on disk. Its manifest says `incomplete` until the last file is written.

    Attributes:
        lock: of the manifest, which the fit and the units under way write to side by side.
    """

    path: Path
    manifest: dict[str, Any]
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @staticmethod
    def create(experiment: Experiment, out: str | None) -> "RunFolder":
        """Makes the folder; an explicit one must not exist (the caller has looked before the work
        began).
        """
        if out is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            names = "-".join(arm.replace(":", ".") for arm in experiment.policies)
            path = Path("runs") / f"{stamp}-{names}"
            number = 2
            while path.exists():
                path = Path("runs") / f"{stamp}-{names}-{number}"
                number += 1
        else:
            path = Path(out)
        try:
            path.mkdir(parents=True, exist_ok=out is not None)
        except OSError as error:
            raise InputError(
                f"the run directory '{path}' cannot be made: {error.strerror}"
            ) from None
        (path / LOCK).touch()
        run = RunFolder(path, {})
        run.manifest = {
            "format": FORMAT,
            "status": INCOMPLETE,
            "experiment": experiment.as_dict(),
            "control": experiment.control_arm,
            "contenders": list(experiment.contenders),
            "references": experiment.references,
            "versions": _versions(),
            "shards": 1,
            "stages": [],
            "files": {},
        }
        run.save()
        return run

    @staticmethod
    def reopen(path: str) -> tuple["RunFolder", Experiment]:
        """An interrupted run and its settings."""
        manifest = Path(path) / "manifest.json"
        if not manifest.is_file():
            raise InputError(f"--resume '{path}' is not a run: there is no manifest.json in it")
        stored = read_manifest(manifest, AGAIN)
        with reading(manifest, AGAIN):
            experiment = from_dict(stored["experiment"])
            check_seal(manifest, stored, AGAIN)
            if "shards" not in stored and stored["status"] not in WORLDS_DONE:
                raise InputError(
                    f"'{path}' was begun by a version that did runs otherwise; {AGAIN}"
                )
            run = RunFolder(Path(path), stored)
            run.check()
            return run, experiment

    def save(self) -> None:
        with self.lock:
            self.manifest["settings"] = seal(self.manifest)
            save_json(self.path / "manifest.json", self.manifest)

    def done(self, stage: str) -> bool:
        return stage in self.manifest["stages"]

    def finish(self, stage: str, files: Listed | None = None) -> None:
        """
        Args:
            files: that the stage wrote, by their paths below the run directory.
        """
        with self.lock:
            if not self.done(stage):
                self.manifest["stages"].append(stage)
            if files is not None:
                self.manifest["files"][stage] = files
            self.save()

    def check(self) -> None:
        """Raises InputError where a file of a finished stage is gone or another one."""
        for stage, files in self.manifest["files"].items():
            if self.done(stage):
                check_listed(self.path, files)

    def drop_scratch(self) -> None:
        """Takes away what only an unfinished run needs: what users knew, and the units' inputs."""
        shutil.rmtree(self.path / "inputs", ignore_errors=True)
        left = list(self.path.rglob("*.part"))  # of processes that were killed
        for kind in ("*.safetensors", "*.now"):
            left += (self.path / "checkpoint").rglob(kind)
        for file in left:
            file.unlink(missing_ok=True)

    def write_tables(self, users: pd.DataFrame, items: pd.DataFrame) -> None:
        """Who was in which bucket and what the items are called, for the analysis."""
        files: Listed = {}
        for name, table in (("users.parquet", users), ("items.parquet", items)):
            with whole(self.path / name) as beside:
                table.to_parquet(beside, index=False)
            files |= listed(self.path, self.path / name, len(table))
        self.finish("tables", files)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
