"""Arrays in files: what safetensors reads is what was given, mapped or not."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from policies.common.files import let_go, load_arrays, mapped_arrays, save_arrays

ARRAYS = {
    "b": np.array([True, False, True]),
    "one": np.arange(5, dtype=np.int8),
    "wide": np.arange(6.0).reshape(2, 3),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "other end": np.arange(4, dtype=">i4"),
    "scalar": np.array(7, np.uint16),
    "none": np.zeros((0, 4), np.int64),
    "half": np.ones(3, np.float16),
}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_arrays(file, ARRAYS, {"of": "a test"})
    for read in (load_file(file), load_arrays(file, {"of": "a test"}), mapped_arrays(file)):
        assert read.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert read[name].dtype == array.dtype.newbyteorder("=")
            np.testing.assert_array_equal(read[name], array)
    with pytest.raises(ValueError, match="read-only"):
        mapped_arrays(file)["wide"][0] = 1


def test_memory_of_what_was_read_is_given_back(tmp_path: Path) -> None:
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("no /proc here")

    def resident() -> int:
        """KiB of the file in memory."""
        lines = smaps.read_text(encoding="utf-8").splitlines()
        at = next(i for i, line in enumerate(lines) if line.endswith("let_go.safetensors"))
        return next(int(line.split()[1]) for line in lines[at:] if line.startswith("Rss:"))

    file = tmp_path / "let_go.safetensors"
    wide, beside = np.arange(500_000), np.arange(3, dtype=np.int32)
    save_arrays(file, {"wide": wide, "beside": beside})
    arrays = mapped_arrays(file)
    view = arrays["wide"].view()
    assert view.sum() == wide.sum()
    full = resident()
    let_go(view)
    let_go(wide)  # nothing is mapped
    assert full > 3900
    assert resident() < 100
    np.testing.assert_array_equal(view, wide)
    np.testing.assert_array_equal(arrays["beside"], beside)


def test_what_files_do_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'x' of object cannot be stored"):
        save_arrays(tmp_path / "a.safetensors", {"x": np.array([None])})
    assert not list(tmp_path.iterdir())
