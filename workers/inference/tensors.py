"""Tensors of the Open Inference Protocol: read from a request, written into an answer. numpy only.

A request is a JSON object, followed by the bytes of those inputs that say ``"parameters": {"binary_data_size": n}``
(the binary tensor data extension). Numbers are little-endian in row-major order; an element of BYTES is a length, an
unsigned 32-bit little-endian integer, and so many bytes.

Specification: https://github.com/kserve/open-inference-protocol, inference_rest.md, and Triton's
protocol/extension_binary_data.md.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any

import numpy as np

from workers.contract import ProgramFailure

BYTES, BOOL = "BYTES", "BOOL"
NUMBERS = {
    "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
LENGTH = struct.Struct("<I")
MAX_INPUTS = 2_000
MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class Tensor:
    """`array` holds numbers, truths, or objects of type bytes."""

    name: str
    datatype: str
    array: np.ndarray


@dataclass(frozen=True)
class Wanted:
    """Which outputs are asked for, None for all; `binary` says of each whether it comes as bytes."""

    names: tuple[str, ...] | None
    binary: Mapping[str, bool]
    is_binary_by_default: bool

    def is_binary(self, name: str) -> bool:
        return self.binary.get(name, self.is_binary_by_default)


@dataclass(frozen=True)
class Request:
    id: str
    inputs: dict[str, Tensor]
    wanted: Wanted


def bad(message: str, hint: str = "") -> ProgramFailure:
    return ProgramFailure("invalid_request", message, hint=hint)


# Reading


def read_request(body: bytes, json_bytes: int | None) -> Request:
    """The request in `body`, of which the first `json_bytes` are JSON (None: all). Raises ProgramFailure."""
    json_bytes = len(body) if json_bytes is None else json_bytes
    if not 0 < json_bytes <= len(body):
        raise bad(
            f"Inference-Header-Content-Length is {json_bytes}, and the body has {len(body)} bytes.",
            "Send the length of the JSON at the body's beginning.",
        )
    try:
        asked = json.loads(body[:json_bytes])
    except (ValueError, RecursionError) as error:
        raise ProgramFailure("invalid_json", f"The request is not JSON: {error}.") from error
    if not isinstance(asked, dict) or not isinstance(asked.get("inputs"), list):
        raise bad('The JSON is no object with a list under "inputs".')
    if len(asked["inputs"]) > MAX_INPUTS:
        raise bad(f"{len(asked['inputs']):,} inputs are too many; at most {MAX_INPUTS:,} are read.")
    id_ = asked.get("id", "")
    return Request(id_ if isinstance(id_, str) else "", _inputs(asked["inputs"], body[json_bytes:]), _wanted(asked))


def _inputs(entries: Sequence[Any], binary: bytes) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    at = 0
    for entry in entries:
        name, datatype, shape = _head(entry)
        if name in found:
            raise bad(f'The input "{name}" is there twice.')
        size = _parameters(entry).get("binary_data_size")
        if size is None:
            array = _from_json(name, datatype, entry.get("data"))
        else:
            if not _is_whole(size) or at + size > len(binary):
                raise bad(f'The input "{name}" says it has {size} bytes, and {len(binary) - at} are left in the body.')
            array = _from_bytes(name, datatype, binary[at : at + size])
            at += size
        if array.size != math.prod(shape):
            raise bad(f'The input "{name}" has {array.size} elements, and its shape {shape} holds {math.prod(shape)}.')
        found[name] = Tensor(name, datatype, array.reshape(shape))
    if at != len(binary):
        raise bad(f"{len(binary) - at} bytes of the body belong to no input.")
    return found


def _head(entry: Any) -> tuple[str, str, list[int]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise bad('Each input is an object with a text under "name".')
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    if datatype not in (BYTES, BOOL, *NUMBERS):
        known = ", ".join((BOOL, *NUMBERS, BYTES))
        raise bad(f'The input "{name}" has the datatype {str(datatype)[:40]!r}; known are {known}.')
    is_shape = isinstance(shape, list) and all(_is_whole(length) for length in shape)
    if not is_shape or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise bad(f'The shape of the input "{name}" is no list of 1 to {MAX_DIMENSIONS} whole numbers.')
    return name, datatype, shape


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _parameters(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found = entry.get("parameters", {})
    return found if isinstance(found, dict) else {}


def _from_json(name: str, datatype: str, data: Any) -> np.ndarray:
    """Flat or nested lists."""
    if not isinstance(data, list):
        raise bad(f'The input "{name}" has no list under "data", and no "binary_data_size".')
    values = list(_flat(data))
    if datatype == BYTES:
        if not all(isinstance(value, str) for value in values):
            raise bad(f'The input "{name}" is of BYTES; in JSON its elements are texts.')
        return _objects([value.encode("utf-8", "surrogatepass") for value in values])
    kind, words = _kind(datatype)
    if not all(isinstance(value, kind) and isinstance(value, bool) == (datatype == BOOL) for value in values):
        raise bad(f'The elements of the input "{name}" must be {words}.')
    try:
        return np.array(values, dtype=bool if datatype == BOOL else NUMBERS[datatype])
    except (ValueError, OverflowError) as error:
        raise bad(f'A number of the input "{name}" does not fit into {datatype}.') from error


def _kind(datatype: str) -> tuple[type | UnionType, str]:
    """What stands for it in JSON, and how that is called."""
    if datatype == BOOL:
        return bool, "true or false"
    return (int | float, "numbers") if datatype.startswith("FP") else (int, "whole numbers")


def _flat(data: list[Any]) -> Iterator[Any]:
    waiting = [iter(data)]
    while waiting:
        for item in waiting[-1]:
            if isinstance(item, list):
                waiting.append(iter(item))
                break
            yield item
        else:
            waiting.pop()


def _from_bytes(name: str, datatype: str, data: bytes) -> np.ndarray:
    if datatype == BYTES:
        return _objects(list(_elements(name, data)))
    if datatype == BOOL:
        return np.frombuffer(data, dtype=np.uint8) != 0
    dtype = np.dtype(NUMBERS[datatype])
    if len(data) % dtype.itemsize:
        raise bad(f'The {len(data)} bytes of the input "{name}" are no whole number of {datatype}.')
    return np.frombuffer(data, dtype=dtype)


def _elements(name: str, data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        if at + LENGTH.size > len(data):
            raise bad(f'The bytes of the input "{name}" end in the middle of a length.')
        (size,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if at + size > len(data):
            raise bad(f'An element of the input "{name}" is {size} bytes long, and {len(data) - at} are left.')
        yield data[at : at + size]
        at += size


def _objects(values: Sequence[bytes]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _wanted(asked: Mapping[str, Any]) -> Wanted:
    is_binary = _parameters(asked).get("binary_data_output") is True
    outputs = asked.get("outputs")
    if not outputs:
        return Wanted(None, {}, is_binary)
    if not isinstance(outputs, list) or not all(isinstance(item, dict) for item in outputs):
        raise bad('"outputs" is no list of objects with a "name".')
    names = tuple(str(item.get("name")) for item in outputs)
    told = {str(item.get("name")): _parameters(item).get("binary_data") for item in outputs}
    return Wanted(names, {name: value for name, value in told.items() if isinstance(value, bool)}, is_binary)


# Writing


def write_answer(request: Request, outputs: Sequence[Tensor], about: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """The body, and how much of it is JSON (None: all). `about` is the model's name and version.

    Raises ProgramFailure for an output that there is not.
    """
    known = {tensor.name: tensor for tensor in outputs}
    names = known.keys() if request.wanted.names is None else request.wanted.names
    entries, parts = [], []
    for name in names:
        if name not in known:
            raise bad(f'There is no output "{name[:80]}".', f"This model gives {' and '.join(known)}.")
        entry, data = _entry(known[name], request.wanted.is_binary(name))
        entries.append(entry)
        parts.append(data)
    answer = {**about, **({"id": request.id} if request.id else {}), "outputs": entries}
    text = json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass")
    has_binary = any("parameters" in entry for entry in entries)
    return b"".join([text, *parts]), len(text) if has_binary else None


def _entry(tensor: Tensor, is_binary: bool) -> tuple[dict[str, Any], bytes]:
    entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.array.shape)}
    flat = tensor.array.reshape(-1)
    if is_binary:
        data = b"".join(LENGTH.pack(len(item)) + item for item in flat) if tensor.datatype == BYTES else flat.tobytes()
        return entry | {"parameters": {"binary_data_size": len(data)}}, data
    values = [item.decode() for item in flat] if tensor.datatype == BYTES else flat.tolist()
    return entry | {"data": values}, b""


def numbers(name: str, datatype: str, values: Any) -> Tensor:
    return Tensor(name, datatype, np.ascontiguousarray(values, dtype=NUMBERS[datatype]))


def texts(name: str, values: Sequence[str]) -> Tensor:
    return Tensor(name, BYTES, _objects([value.encode() for value in values]))
