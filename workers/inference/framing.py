"""How a replica is asked over its Unix socket. Standard library only, shared by both ends.

A connection carries one question and one answer after the other and stays open. Each is a frame: two unsigned 32-bit
big-endian lengths, then a JSON head of the first length, then a body of the second.

Question head: ``{"content": "raw" | "files" | "json" | "tensors" | "sample" | "ping", "top_k": n | null}``. The body is
what the client sent: the bytes of an image or a text in UTF-8 for raw, several images one after the other for files,
``{"row"}``, ``{"rows"}``, ``{"text"}``, ``{"texts"}``, ``{"image": base64}`` or ``{"images"}`` for json, a request of
the Open Inference Protocol for tensors, nothing for the other two. The head may have ``"options"``: with files
``"sizes"`` in bytes, with tensors ``"json_bytes"``, ``"model_name"`` and ``"model_version"``; with ``"each"`` an item
that cannot be answered gets its error and the others their answers; with ``"explain"`` the answer says where it comes
from, and a replica works on that beside its predictions; with ``"decide"``, ``{"positive": a class, "threshold": a
probability}``, it says whether the item counts as that class.
Answer head: ``{"status": HTTP status, "seconds": time the prediction took, "batch": how many questions were answered
together}``, and ``"items"`` where the question had several; the body is the JSON for the client. With tensors
``"json_bytes"`` says how much of the body is JSON, null for all.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from workers.inference.reaching import connect

LENGTHS = struct.Struct(">II")
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 2**30
CHUNK_BYTES = 64 * 1024  # read from a socket at once

RAW, FILES, JSON, TENSORS, SAMPLE, PING = "raw", "files", "json", "tensors", "sample", "ping"


class BrokenConnection(ConnectionError):
    """The other end closed the connection, or sent what is no frame."""


@dataclass(frozen=True)
class Frame:
    """A question or an answer."""

    head: dict[str, Any]
    body: bytes = b""

    def prefix(self) -> bytes:
        """What comes before the body."""
        head = _encode(self.head)
        return LENGTHS.pack(len(head), len(self.body)) + head

    def encode(self) -> bytes:
        return self.prefix() + self.body

    @property
    def status(self) -> int:
        return int(self.head["status"])

    @property
    def items(self) -> int:
        """How many items are answered."""
        return int(self.head.get("items", 1))


@dataclass(frozen=True)
class Question:
    """What to predict: see the module for `content` and `body`."""

    content: str
    body: bytes = field(default=b"", repr=False)
    top_k: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Frame) -> Question:
        """The one that `frame` asks."""
        head = frame.head
        return cls(head.get("content", ""), frame.body, head.get("top_k"), head.get("options") or {})

    def prefix(self) -> bytes:
        """What comes before the body."""
        if self.options:
            head = _encode({"content": self.content, "top_k": self.top_k, "options": self.options})
        else:
            head = _usual_head(self.content, self.top_k)
        return LENGTHS.pack(len(head), len(self.body)) + head

    def encode(self) -> bytes:
        return self.prefix() + self.body

    @property
    def is_explanation(self) -> bool:
        """Whether the answer is to be explained."""
        return bool(self.options.get("explain"))

    def explained(self) -> Question:
        """The same question, with its answer explained."""
        return replace(self, options=self.options | {"explain": True})

    @property
    def wanted_decision(self) -> dict[str, Any] | None:
        """The class that is looked for and from which probability on, as `deciding` was given it."""
        return self.options.get("decide")

    def deciding(self, wanted: dict[str, Any]) -> Question:
        """The same question, whose answer says besides whether the item counts as `wanted["positive"]`."""
        return replace(self, options=self.options | {"decide": wanted})

    def to_version(self, number: int) -> Question:
        """An answer in tensors says which version gave it."""
        if self.content != TENSORS:
            return self
        return replace(self, options=self.options | {"model_version": str(number)})


def _encode(head: dict[str, Any]) -> bytes:
    return json.dumps(head).encode()


@lru_cache(maxsize=256)
def _usual_head(content: str, top_k: int | None) -> bytes:
    """Of nearly all questions."""
    return _encode({"content": content, "top_k": top_k})


class FrameReader:
    """Frames out of the pieces in which they arrive, one frame at a time."""

    def __init__(self, read_head: Callable[[bytes], dict[str, Any]] | None = None) -> None:
        """`read_head` in place of the usual, which raises BrokenConnection for what is no JSON object."""
        self._parts = bytearray()
        self._read_head = read_head or _read_head

    def feed(self, data: bytes) -> Frame | None:
        """The frame that ends with `data`; None while more of it is to come. Raises BrokenConnection."""
        if self._parts:
            self._parts += data
        whole = self._parts or data
        if len(whole) >= LENGTHS.size:
            head_bytes, body_bytes = _check(*LENGTHS.unpack_from(whole))
            body_start = LENGTHS.size + head_bytes
            if len(whole) > body_start + body_bytes:
                raise BrokenConnection("more came than one frame")
            if len(whole) == body_start + body_bytes:
                self._parts = bytearray()
                return Frame(
                    self._read_head(bytes(whole[LENGTHS.size : body_start])), bytes(memoryview(whole)[body_start:])
                )
        if not self._parts:
            self._parts += data
        return None


def _read_head(data: bytes) -> dict[str, Any]:
    try:
        head = json.loads(data.decode())
    except ValueError as error:
        raise BrokenConnection("what came is no frame") from error
    if not isinstance(head, dict):
        raise BrokenConnection("what came is no frame")
    return head


read_usual_head = lru_cache(maxsize=256)(_read_head)  # of questions, whose heads are nearly all the same


def ask(lane: str, question: Question, *, timeout_seconds: float) -> Frame:
    """Ask once over a connection of its own; `lane` is where (workers.inference.reaching). Raises OSError
    (BrokenConnection, TimeoutError) when no answer comes."""
    with connect(lane, timeout_seconds) as connection:
        connection.sendall(question.encode())
        reader = FrameReader()
        while data := connection.recv(CHUNK_BYTES):
            if frame := reader.feed(data):
                return frame
    raise BrokenConnection("the connection ended before the answer")


def _check(head_bytes: int, body_bytes: int) -> tuple[int, int]:
    if head_bytes > MAX_HEAD_BYTES or body_bytes > MAX_BODY_BYTES:
        raise BrokenConnection("the frame is larger than any that is sent")
    return head_bytes, body_bytes
