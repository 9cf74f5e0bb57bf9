"""Arrays in files: as the safetensors library reads and writes them, and refused where they are damaged."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from workers.arrays import read_arrays, write_arrays

ARRAYS = {
    "bits": np.array([True, False, True]),
    "codes": np.arange(-4, 5, dtype=np.int8).reshape(3, 3),
    "weights": np.linspace(-1, 1, 7, dtype=np.float32),
    "half": np.ones((2, 2), dtype=np.float16),
    "starts": np.array([2**40], dtype=np.int64),
    "nothing": np.zeros((0, 4), dtype=np.float64),
    "one": np.array(7, dtype=np.uint16),
}


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in expected.items()
    )


def test_the_library_and_this_program_read_each_others_files(tmp_path):
    write_arrays(ARRAYS, tmp_path / "ours")
    save_file(ARRAYS, tmp_path / "theirs", metadata={"made": "by the library"})
    assert same(load_file(tmp_path / "ours"), ARRAYS) and same(read_arrays(tmp_path / "theirs"), ARRAYS)


def test_only_what_is_wanted_is_read(tmp_path):
    write_arrays(ARRAYS, tmp_path / "file")
    assert read_arrays(tmp_path / "file", lambda name: name.startswith("c")).keys() == {"codes"}


def file_of(header: object, body: bytes = bytes(8)) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(**changes) -> dict:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


@pytest.mark.parametrize(
    "body",
    [
        b"", struct.pack("<Q", 2**60) + b"{}", file_of([]), file_of(entry(), bytes(7)), file_of(entry(shape=[3])),
        file_of(entry(shape=[-1, -2])), file_of(entry(data_offsets=[-8, 0])), file_of(entry(data_offsets=[8, 16])),
        file_of(entry(dtype="pickle")), file_of({"a": 3}), struct.pack("<Q", 2) + b"{]",
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path, body):
    (tmp_path / "file").write_bytes(body)
    with pytest.raises(ValueError):
        read_arrays(tmp_path / "file")
