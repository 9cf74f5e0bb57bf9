"""Decode images and recordings in child processes, so that a crash in a decoder costs one file and not the job."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.preprocessing.limits import Limits

FOLDER = Path(__file__).parent


class DecoderDied(Exception):
    """The child ended before it answered."""


@dataclass(frozen=True)
class Decoded:
    """What is known of one image: format and size in pixels, or `code` and `reason` why it is unusable; `body` is what
    was made of it."""

    format: str = ""
    width: int = 0
    height: int = 0
    body: bytes = b""
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Heard:
    """What is known of one recording: its format, samples a second, channels and length; its largest sample (of 1) and
    the share of samples that are cut off at 1; and `sound`, a hash of the samples. Else `code` and `reason` why it is
    unusable. `body` is what was made of it."""

    format: str = ""
    rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    clipped: float = 0.0
    sound: str = ""
    body: bytes = b""
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of decoder: the program beside this one, and what it answers with."""

    program: str
    answer: type[Decoded] | type[Heard]
    noun: str

    @property
    def crashed(self) -> Decoded | Heard:
        return self.answer(code="decoder_crashed", reason=f"the {self.noun} made its decoder crash or run out of time")


IMAGES = Kind("decoder.py", Decoded, "image")
RECORDINGS = Kind("sound_decoder.py", Heard, "recording")
CRASHED = IMAGES.crashed


class Decoder:
    """One child process; started at the first request and again after it died."""

    def __init__(self, limits: Limits, kind: Kind = IMAGES) -> None:
        self.kind = kind
        options = {
            "max_pixels": limits.max_pixels,
            "memory_bytes": limits.decoder_memory_bytes,
            "cpu_seconds": limits.decoder_cpu_seconds,
            "thumbnail_pixels": limits.thumbnail_pixels,
            "glance_pixels": limits.glance_pixels,
            "excerpt_seconds": limits.excerpt_seconds,
        }
        self._command = [sys.executable, "-I", str(FOLDER / kind.program), json.dumps(options)]
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def decode(self, mode: str, files: Sequence[bytes]) -> list[Any]:
        """Facts in the order of `files`. Raises DecoderDied."""
        process = self._started()
        head = json.dumps({"mode": mode, "sizes": [len(file) for file in files]})
        try:
            process.stdin.write(head.encode() + b"\n" + b"".join(files))
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError as error:
            self._reap()
            raise DecoderDied from error
        if not line.endswith(b"\n"):
            self._reap()
            raise DecoderDied
        return [self._decoded(process, fact) for fact in json.loads(line)]

    def close(self) -> None:
        """End the child now; whoever waits for its answer gets DecoderDied."""
        self._is_closed = True
        if self._process is not None:
            self._process.kill()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._is_closed:
            raise DecoderDied
        if self._process is None:
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._process = process
            if process.stdout.readline() != b"ready\n" and not self._is_closed:
                raise RuntimeError(f"the decoder does not start: {self.kind.program} ended with {process.wait()}")
        return self._process

    def _decoded(self, process: subprocess.Popen[bytes], fact: dict) -> Decoded | Heard:
        size = fact.pop("bytes", 0)
        return self.kind.answer(**fact, body=process.stdout.read(size) if size else b"")

    def finish(self) -> None:
        """Close and leave no process behind."""
        self.close()
        if self._process is not None:
            self._reap()

    def _reap(self) -> None:
        process, self._process = self._process, None
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(OSError):  # what was not read by the dead child cannot be flushed
            process.stdin.close()


class DecoderPool:
    """`workers` children that decode batches side by side; leaving the block ends them all."""

    def __init__(self, workers: int, limits: Limits, kind: Kind = IMAGES) -> None:
        self._decoders = [Decoder(limits, kind) for _ in range(workers)]
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoder")

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *exception: object) -> None:
        for decoder in self._decoders:
            decoder.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for decoder in self._decoders:
            decoder.finish()

    def submit(self, mode: str, files: Sequence[bytes]) -> Future[list[Any]]:
        """The facts of a batch, later. A file that kills its child is answered by `Kind.crashed`.

        The result raises RuntimeError where a child does not even start: then no file is to blame.
        """
        return self._threads.submit(self._decode, mode, files)

    def _decode(self, mode: str, files: Sequence[bytes]) -> list[Any]:
        decoder = self._idle.get()
        try:
            return decode_or_blame(decoder, mode, files)
        finally:
            self._idle.put(decoder)


def decode_or_blame(decoder: Decoder, mode: str, files: Sequence[bytes]) -> list[Any]:
    """Decode a batch; where the child dies, decode its files one by one to find which of them did it."""
    try:
        return decoder.decode(mode, files)
    except DecoderDied:
        if len(files) == 1:
            return [decoder.kind.crashed]
    return [decode_or_blame(decoder, mode, [file])[0] for file in files]
