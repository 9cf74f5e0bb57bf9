"""Frames over streams, for tests that stand at either end of a replica's socket."""

import asyncio

from workers.inference.framing import Frame, FrameReader


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """None where the other end closed. Raises BrokenConnection."""
    frames = FrameReader()
    while data := await reader.read(64 * 1024):
        if frame := frames.feed(data):
            return frame
    return None
