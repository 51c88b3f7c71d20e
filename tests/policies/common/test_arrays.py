"""Arrays in files: what safetensors reads is what was given, mapped or not."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from policies.common.files import load_arrays, mapped_arrays, save_arrays

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


def test_what_files_do_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'x' of object cannot be stored"):
        save_arrays(tmp_path / "a.safetensors", {"x": np.array([None])})
    assert not list(tmp_path.iterdir())
