"""What a run's manifest says of itself, for whoever writes it and whoever reads it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from policies.common.errors import InputError, shown
from policies.common.files import reading
from policies.common.tables import plain

INCOMPLETE, SIMULATED, COMPLETE = "incomplete", "simulated", "complete"
WORLDS_DONE = (SIMULATED, COMPLETE)  # complete once the report exists
FORMAT = 2  # of run directories
SEALED = ("format", "experiment", "control", "contenders", "references", "weights", "log_name")
SEALED_IF_THERE = ("shards",)  # not of runs of before


def read_manifest(path: Path, advice: str) -> dict[str, Any]:
    """What a run says of itself.

    Args:
        advice: what to do where it cannot be used.

    Raises:
        InputError: it is damaged, or of another version.
    """
    with reading(path, advice):
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest.get("format") != FORMAT:
            raise InputError(
                f"'{shown(path.parent)}' was written in format {manifest.get('format')}, this"
                f" version reads {FORMAT}; {advice}"
            )
        for name in ("experiment", "status", "stages", "files", "settings"):
            if name not in manifest:
                raise KeyError(name)
    return manifest


def check_seal(path: Path, manifest: dict[str, Any], advice: str) -> None:
    """Raises InputError where what decides how the run is judged was changed by hand."""
    if seal(manifest) != manifest["settings"]:
        raise InputError(
            f"'{shown(path)}' was changed since it was written: its settings are not those that the"
            f" run began with; {advice}"
        )


def seal(manifest: dict[str, Any]) -> str:
    """SHA-256 of what decides how a run is judged: a manifest edited by hand no longer has it."""
    content = {name: plain(manifest.get(name)) for name in SEALED}
    content |= {name: manifest[name] for name in SEALED_IF_THERE if name in manifest}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
