"""Arrays in a file, in the safetensors format: numpy and the standard library only, which is all that serving needs.

A file is the length of a header (u64, little-endian), the header, and the arrays' bytes; the header is JSON,
{name: {"dtype", "shape", "data_offsets"}}. https://github.com/huggingface/safetensors describes the format.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = struct.Struct("<Q")
LONGEST_HEADER = 100_000_000
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def read_arrays(path: str | Path, is_wanted: Callable[[str], bool] = lambda _name: True) -> dict[str, np.ndarray]:
    """The arrays of a file whose names are wanted. Raises OSError, and ValueError where the file is damaged."""
    body = memoryview(Path(path).read_bytes())
    if len(body) < LENGTH.size:
        raise ValueError("the file of arrays is too short")
    (length,) = LENGTH.unpack(body[: LENGTH.size])
    if length > min(LONGEST_HEADER, len(body) - LENGTH.size):
        raise ValueError("the header of the file of arrays is longer than the file")
    start = LENGTH.size + length
    header = json.loads(bytes(body[LENGTH.size : start]))
    if not isinstance(header, dict):
        raise ValueError("the header of the file of arrays is not an object")
    entries = ((name, entry) for name, entry in header.items() if name != "__metadata__" and is_wanted(name))
    return {name: _array(name, entry, body[start:]) for name, entry in entries}


def _array(name: str, entry: Any, body: memoryview) -> np.ndarray:
    try:
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(int(length) for length in entry["shape"])
        first, last = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the array {name!r} is described in a way that is not known") from error
    is_inside = 0 <= first <= last <= len(body) and all(length >= 0 for length in shape)
    if not is_inside or last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the array {name!r} does not lie in its file as it says")
    return np.frombuffer(body[first:last], dtype=dtype).reshape(shape).copy()


def write_arrays(arrays: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Raises KeyError for an array of a kind that the format does not have."""
    header, offset = {}, 0
    # The widest first: so each begins where a number of its size may.
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, array in ordered:
        dtype = NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(LENGTH.pack(len(text)) + text)
        for _name, array in ordered:
            file.write(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
