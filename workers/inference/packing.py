"""An ONNX file in less room, byte for byte the same when it is unpacked. numpy and the standard library only.

Compression leaves weights that a file stores badly: few different values, many zeros, 8-bit numbers of which the small
ones are frequent. `pack` writes each in the cheapest of several codings; whatever it is, LZMA's adaptive range coder
comes after it where that helps, which is the entropy coder of Deep Compression (Han, Mao and Dally 2016).

A packed file, version 1, all numbers little-endian: the magic ``LPNX``, a version byte, sha256 of all that follows, the
size of the ONNX file (u64), its CRC-32 (u32), the number of segments (u32), then the segments. Put one after the other
they are the ONNX file. A segment is a coding (u8), the width of an element in bytes (u8), its size when decoded (u64),
and parts; a part is a method (u8), its stored size (u64), and that many bytes.

======== =============================================================================================================
coding   parts, for n elements
======== =============================================================================================================
LITERAL  the bytes themselves
PLANES   for each byte of an element: that byte of all elements, n bytes
CODEBOOK a u16, how many different elements there are less one, before the parts; those elements; then for each of the n
         its number among them, in 1, 2, 4 or 8 bits, the first in the lowest bits of a byte
ZEROS    a u64, how many elements are not zero, before the parts; n bits, the first in the highest bit, which are not
         zero; then PLANES of those
======== =============================================================================================================
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MAGIC, VERSION = b"LPNX", 1
HEAD = struct.Struct("<QII")
SEGMENT = struct.Struct("<BBQ")
PART = struct.Struct("<BQ")
COUNT, VALUES = struct.Struct("<Q"), struct.Struct("<H")

LITERAL, PLANES, CODEBOOK, ZEROS = range(4)
STORED, LZMA = range(2)
WIDTHS = (1, 2, 4, 8)

LARGEST_FILE = 2**31 - 1  # what protobuf can hold
LARGEST_RATIO = 2000  # a file that says it becomes larger than this many times its size is not believed
LARGEST_CODEBOOK = 256
SMALLEST_PAYLOAD = 512  # bytes; smaller weights are left among what stands around them
WORTH_IT = 0.95
# Numbers have no words that return, so that a byte's probability is all there is to learn (lc = lp = pb = 0).
FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**22, "lc": 0, "lp": 0, "pb": 0, "nice_len": 64}]
TEXT_FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**22, "lc": 3, "lp": 0, "pb": 0, "nice_len": 273}]


def pack(onnx_path: Path, packed_path: Path) -> bool:
    """Write the packed form of an ONNX file where it is at least 5 % smaller; says whether it is, and it was."""
    body = onnx_path.read_bytes()
    packed = pack_bytes(body)
    if len(packed) > WORTH_IT * len(body) or len(body) > LARGEST_RATIO * len(packed):
        return False
    if unpack(packed) != body:
        raise AssertionError("what was packed unpacks to something else")
    packed_path.write_bytes(packed)
    return True


def pack_bytes(body: bytes) -> bytes:
    """The packed form of an ONNX file of any content."""
    segments, position = [], 0
    for start, end, width in _payloads(body):
        if end - start >= SMALLEST_PAYLOAD:
            segments += [_literal(body[position:start]), _cheapest(body[start:end], width)]
            position = end
    segments.append(_literal(body[position:]))
    rest = HEAD.pack(len(body), zlib.crc32(body), len(segments)) + b"".join(segments)
    return MAGIC + bytes([VERSION]) + hashlib.sha256(rest).digest() + rest


def unpack(packed: bytes) -> bytes:
    """The ONNX file. Raises ValueError where `packed` is damaged, or is no packed file."""
    reader = _Reader(packed)
    if reader.take(len(MAGIC)) != MAGIC:
        raise ValueError("this is not a packed model")
    if (version := reader.take(1)[0]) != VERSION:
        raise ValueError(f"the packed model has version {version}; this program reads version {VERSION}")
    digest, rest = reader.take(32), memoryview(packed)[reader.position :]
    if hashlib.sha256(rest).digest() != digest:
        raise ValueError("the packed model is damaged: its checksum is another")
    size, checksum, count = reader.read(HEAD)
    if size > min(LARGEST_FILE, LARGEST_RATIO * len(packed)):
        raise ValueError(f"the packed model says that it becomes {size:,} bytes, which is not believed")
    body = bytearray()
    for _ in range(count):
        body += _decode(reader, size - len(body))
    if reader.position != len(packed) or len(body) != size or zlib.crc32(body) != checksum:
        raise ValueError("the packed model is damaged: its parts do not make the whole")
    return bytes(body)


# Where the weights are


def _payloads(body: bytes) -> Iterator[tuple[int, int, int]]:
    """(start, end, bytes of an element) of the weights in an ONNX file, from its first byte on. None are found in what
    is no ONNX file."""
    try:
        found = [
            payload
            for field_number, start, end in _fields(body, 0, len(body))
            if field_number == 7  # ModelProto.graph
            for inner, first, last in _fields(body, start, end)
            if inner == 5  # GraphProto.initializer
            for payload in _tensor(body, first, last)
        ]
    except (IndexError, ValueError):
        return iter(())
    return iter(found)


# TensorProto.DataType to bytes of an element; all others, as pairs of 4-bit numbers, are taken for bytes.
ELEMENT_BYTES = {1: 4, 4: 2, 5: 2, 6: 4, 7: 8, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}


def _tensor(body: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """A TensorProto's raw_data (9), or its float_data (4), whose bytes are the same."""
    parts = list(_fields(body, start, end))
    kind = next((first for number, first, last in parts if number == 2 and first == last), 0)
    places = [(first, last, ELEMENT_BYTES.get(kind, 1) if number == 9 else 4) for number, first, last in parts
              if number in (4, 9) and last > first]  # fmt: skip
    return [(first, last, width if (last - first) % width == 0 else 1) for first, last, width in places]


def _fields(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of the fields of a protobuf message; (number, value, value) where a field is a number.

    Raises ValueError and IndexError where it is no message.
    """
    while start < end:
        tag, start = _varint(body, start)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, start = _varint(body, start)
            yield number, value, value
        elif kind == 2:
            length, start = _varint(body, start)
            if start + length > end:
                raise ValueError("a field is longer than its message")
            yield number, start, start + length
            start += length
        elif kind in (1, 5):
            start += 8 if kind == 1 else 4
        else:
            raise ValueError(f"fields of kind {kind} are not written any more")


def _varint(body: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = body[start]
        value, start, shift = value | (byte & 0x7F) << shift, start + 1, shift + 7
        if byte < 0x80:
            return value, start
    raise ValueError("a number is too long")


# Encoding


def _cheapest(body: bytes, width: int) -> bytes:
    elements = np.frombuffer(body, dtype=f"<u{width}")
    values, are_zero = np.unique(elements), np.count_nonzero(elements) < len(elements) / 2
    candidates = [_zeros(elements)] if are_zero else []
    if width == 1:
        candidates.append(_planes(elements))
    if len(values) <= LARGEST_CODEBOOK:
        candidates.append(_codebook(elements, values))
    return min(candidates or [_planes(elements), _literal(body)], key=len)


def _literal(body: bytes) -> bytes:
    return SEGMENT.pack(LITERAL, 1, len(body)) + _part(body, TEXT_FILTERS)


def _planes(elements: np.ndarray) -> bytes:
    return SEGMENT.pack(PLANES, elements.itemsize, elements.nbytes) + _plane_parts(elements)


def _plane_parts(elements: np.ndarray) -> bytes:
    planes = elements.view(np.uint8).reshape(-1, elements.itemsize).T
    return b"".join(_part(plane.tobytes()) for plane in planes)


def _codebook(elements: np.ndarray, values: np.ndarray) -> bytes:
    head = SEGMENT.pack(CODEBOOK, elements.itemsize, elements.nbytes) + VALUES.pack(len(values) - 1)
    numbers = np.searchsorted(values, elements).astype(np.uint8)
    return head + _part(values.tobytes()) + _part(_pack_bits(numbers, _bits(len(values))))


def _zeros(elements: np.ndarray) -> bytes:
    head = SEGMENT.pack(ZEROS, elements.itemsize, elements.nbytes) + COUNT.pack(np.count_nonzero(elements))
    return head + _part(np.packbits(elements != 0).tobytes()) + _plane_parts(elements[elements != 0])


def _bits(values: int) -> int:
    """Bits of a number below `values`, such that whole numbers make a byte."""
    return next(bits for bits in (1, 2, 4, 8) if values <= 1 << bits)


def _pack_bits(numbers: np.ndarray, bits: int) -> bytes:
    each = 8 // bits
    padded = np.concatenate([numbers, np.zeros(-len(numbers) % each, dtype=np.uint8)]).reshape(-1, each)
    packed = np.zeros(len(padded), dtype=np.uint8)
    for place in range(each):
        packed |= padded[:, place] << np.uint8(place * bits)
    return packed.tobytes()


def _part(body: bytes, filters: list[dict] = FILTERS) -> bytes:
    packed = lzma.compress(body, lzma.FORMAT_RAW, filters=filters)
    method, stored = (LZMA, packed) if len(packed) < len(body) else (STORED, body)
    return PART.pack(method, len(stored)) + stored


# Decoding


@dataclass
class _Reader:
    """Takes what a packed file says it has, and no more than there is."""

    body: bytes
    position: int = field(default=0)

    def take(self, count: int) -> bytes:
        if count > len(self.body) - self.position:
            raise ValueError("the packed model is damaged: it ends too early")
        self.position += count
        return self.body[self.position - count : self.position]

    def read(self, form: struct.Struct) -> tuple:
        return form.unpack(self.take(form.size))

    def part(self, size: int) -> bytes:
        """The next part, which becomes `size` bytes."""
        method, length = self.read(PART)
        stored = self.take(length)
        try:
            body = _expand(method, stored, size)
        except (lzma.LZMAError, EOFError) as error:
            raise ValueError(f"the packed model is damaged: {error}") from error
        if len(body) != size:
            raise ValueError("the packed model is damaged: a part has another size than it says")
        return body


def _expand(method: int, stored: bytes, size: int) -> bytes:
    """At most one byte more than `size`, however much `stored` would become."""
    if method == STORED:
        return stored
    if method == LZMA:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS).decompress(stored, size + 1)
    raise ValueError(f"the packed model is damaged: it has a part of the unknown kind {method}")


def _decode(reader: _Reader, most: int) -> bytes:
    """The next segment, of at most `most` bytes."""
    coding, width, size = reader.read(SEGMENT)
    if width not in WIDTHS or size > most or size % width:
        raise ValueError("the packed model is damaged: the size of a segment cannot be")
    count = size // width
    if coding == LITERAL:
        return reader.part(size)
    if coding == PLANES:
        return _join_planes(reader, count, width).tobytes()
    if coding == CODEBOOK:
        return _look_up(reader, count, width).tobytes()
    if coding == ZEROS:
        return _spread(reader, count, width).tobytes()
    raise ValueError(f"the packed model is damaged: it has a segment of the unknown kind {coding}")


def _join_planes(reader: _Reader, count: int, width: int) -> np.ndarray:
    planes = [np.frombuffer(reader.part(count), dtype=np.uint8) for _ in range(width)]
    return np.stack(planes, axis=1).reshape(-1).view(f"<u{width}")


def _look_up(reader: _Reader, count: int, width: int) -> np.ndarray:
    values = reader.read(VALUES)[0] + 1
    if values > LARGEST_CODEBOOK:
        raise ValueError("the packed model is damaged: a codebook is too long")
    book, bits = np.frombuffer(reader.part(values * width), dtype=f"<u{width}"), _bits(values)
    packed = np.frombuffer(reader.part(-(-count * bits // 8)), dtype=np.uint8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = ((packed[:, None] >> shifts) & np.uint8(2**bits - 1)).reshape(-1)[:count]
    if count and numbers.max() >= values:
        raise ValueError("the packed model is damaged: a number is not in its codebook")
    return book[numbers]


def _spread(reader: _Reader, count: int, width: int) -> np.ndarray:
    (filled,) = reader.read(COUNT)
    mask = np.unpackbits(np.frombuffer(reader.part(-(-count // 8)), dtype=np.uint8), count=count).astype(bool)
    if filled != np.count_nonzero(mask):
        raise ValueError("the packed model is damaged: the places of zeros are not as many as it says")
    elements = np.zeros(count, dtype=f"<u{width}")
    elements[mask] = _join_planes(reader, filled, width)
    return elements
