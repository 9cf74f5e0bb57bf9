"""Decode images in child processes, so that a crash in a decoder costs one image and not the job."""

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

from workers.preprocessing.limits import Limits

PROGRAM = Path(__file__).with_name("decoder.py")


class DecoderDied(Exception):
    """The child ended before it answered."""


@dataclass(frozen=True)
class Decoded:
    """What is known of one image: format and size in pixels, or `code` and `reason` why it is unusable."""

    format: str = ""
    width: int = 0
    height: int = 0
    png: bytes = b""
    code: str = ""
    reason: str = ""


CRASHED = Decoded(code="decoder_crashed", reason="the image made its decoder crash or run out of time")


class Decoder:
    """One child process; started at the first request and again after it died."""

    def __init__(self, limits: Limits) -> None:
        options = {
            "max_pixels": limits.max_pixels,
            "memory_bytes": limits.decoder_memory_bytes,
            "cpu_seconds": limits.decoder_cpu_seconds,
            "thumbnail_pixels": limits.thumbnail_pixels,
        }
        self._command = [sys.executable, "-I", str(PROGRAM), json.dumps(options)]
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def decode(self, mode: str, images: Sequence[bytes]) -> list[Decoded]:
        """Facts in the order of `images`. Raises DecoderDied."""
        process = self._started()
        head = json.dumps({"mode": mode, "sizes": [len(image) for image in images]})
        try:
            process.stdin.write(head.encode() + b"\n" + b"".join(images))
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
                raise RuntimeError(f"the image decoder does not start: {PROGRAM.name} ended with {process.wait()}")
        return self._process

    def _decoded(self, process: subprocess.Popen[bytes], fact: dict) -> Decoded:
        size = fact.pop("bytes", 0)
        return Decoded(**fact, png=process.stdout.read(size) if size else b"")

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

    def __init__(self, workers: int, limits: Limits) -> None:
        self._decoders = [Decoder(limits) for _ in range(workers)]
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

    def submit(self, mode: str, images: Sequence[bytes]) -> Future[list[Decoded]]:
        """The facts of a batch, later. An image that kills its child is answered by `CRASHED`.

        The result raises RuntimeError where a child does not even start: then no image is to blame.
        """
        return self._threads.submit(self._decode, mode, images)

    def _decode(self, mode: str, images: Sequence[bytes]) -> list[Decoded]:
        decoder = self._idle.get()
        try:
            return decode_or_blame(decoder, mode, images)
        finally:
            self._idle.put(decoder)


def decode_or_blame(decoder: Decoder, mode: str, images: Sequence[bytes]) -> list[Decoded]:
    """Decode a batch; where the child dies, decode its images one by one to find which of them did it."""
    try:
        return decoder.decode(mode, images)
    except DecoderDied:
        if len(images) == 1:
            return [CRASHED]
    return [decode_or_blame(decoder, mode, [image])[0] for image in images]
