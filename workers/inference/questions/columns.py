"""Tensors of one value per item."""

from __future__ import annotations

import numpy as np

from workers.contract import ProgramFailure
from workers.inference.tensors import BYTES, Request, Tensor, bad

MAX_ROWS = 10_000


def only(request: Request) -> Tensor:
    """Raises ProgramFailure for a request with several inputs, or none."""
    if len(request.inputs) != 1:
        raise bad(f"This model takes one input; {len(request.inputs)} were sent.")
    return next(iter(request.inputs.values()))


def column(tensor: Tensor, most: int) -> np.ndarray:
    """[N] of [N] or [N, 1]. Raises ProgramFailure for other shapes, and for more than `most`."""
    shape = tensor.array.shape
    if len(shape) > 2 or shape[1:] not in ((), (1,)):
        raise bad(f'The input "{tensor.name}" has the shape {list(shape)}; it must be [N] or [N, 1].')
    if not 1 <= shape[0] <= most:
        raise bad(f'The input "{tensor.name}" has {shape[0]:,} elements; between 1 and {most:,} are answered at once.')
    return tensor.array.reshape(-1)


def as_texts(tensor: Tensor, most: int) -> list[str]:
    """Raises ProgramFailure for what are no texts in UTF-8."""
    if tensor.datatype != BYTES:
        raise bad(f'The input "{tensor.name}" is of {tensor.datatype}; texts are sent as BYTES in UTF-8.')
    return [_decode(tensor.name, item) for item in column(tensor, most)]


def _decode(name: str, item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError as error:
        raise ProgramFailure("wrong_encoding", f'An element of the input "{name}" is not UTF-8.') from error
