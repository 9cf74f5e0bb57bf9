"""Recordings of a data set version as spectrograms, computed once."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from workers import audio as hearing
from workers.audio import BANDS, frames_of, hear
from workers.contract import ProgramFailure

CHUNK = 256
HEARING = Path(hearing.__file__)  # what another version of it has computed is not used
RATES = (8_000, 16_000)
# Where so many recordings have no higher pitches, a model of 16,000 samples a second would learn that they lack them.
LOW_SHARE = 0.1
SHORTEST_SECONDS, LONGEST_SECONDS, STEP_SECONDS = 0.5, 10.0, 0.1
USUAL_SHARE = 0.97  # of the recordings are heard whole


@dataclass(frozen=True)
class AudioRow:
    """One line of index.jsonl; `rate` is in samples a second. `label` and `transcript` are "" where there is none."""

    member: str
    label: str
    split: str
    seconds: float
    rate: int
    source: str
    transcript: str = ""


def read_index(path: Path) -> list[AudioRow]:
    """The rows of an index, in its order. Raises ProgramFailure (unreadable_index)."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [_read_row(json.loads(line)) for line in lines if line]
    except (OSError, ValueError, TypeError) as error:
        message = f"The index of the data set cannot be read: {error!r}."
        raise ProgramFailure("unreadable_index", message, hint="Prepare the data set again.") from error


def _read_row(facts: dict[str, Any]) -> AudioRow:
    known = {name: facts[name] for name in AudioRow.__dataclass_fields__ if name in facts}
    return AudioRow(**{name: "" if value is None else value for name, value in known.items()})


def choose_rate(rows: Sequence[AudioRow]) -> int:
    """How many samples a second the model hears: 16,000, or 8,000 where a tenth of the recordings have no more."""
    low = sum(row.rate < RATES[1] for row in rows)
    return RATES[0] if low >= LOW_SHARE * len(rows) else RATES[1]


def choose_seconds(rows: Sequence[AudioRow]) -> float:
    """How long the model listens: so long that nearly all recordings are heard whole, between 0.5 and 10 seconds."""
    usual = float(np.quantile([row.seconds for row in rows], USUAL_SHARE))
    return round(min(LONGEST_SECONDS, max(SHORTEST_SECONDS, np.ceil(usual / STEP_SECONDS) * STEP_SECONDS)), 3)


class AudioSource:
    """The members of data.zip, heard on demand with `threads` threads."""

    def __init__(self, path: Path, threads: int) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise _unreadable_data(f"The archive of recordings cannot be read: {error}.") from error
        self.threads = max(1, threads)

    def body(self, row: AudioRow) -> bytes:
        """The file itself. Raises ProgramFailure unreadable_data."""
        try:
            return self.archive.read(row.member)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise _unreadable_data(f"{row.member} ({row.source}) cannot be read from the archive.") from error

    def hear_all(
        self, rows: Sequence[AudioRow], listen: Callable[[bytes], np.ndarray]
    ) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Yield (position, what `listen` makes of each file) chunk by chunk."""

        def hear_one(pair: tuple[AudioRow, bytes]) -> np.ndarray:
            try:
                return listen(pair[1])
            except ProgramFailure as failure:
                message = f"{pair[0].source}: {failure.message}"
                raise ProgramFailure(failure.code, message, hint="Prepare the data set again.") from failure

        with ThreadPoolExecutor(self.threads) as pool:
            for start in range(0, len(rows), CHUNK):
                bodies = [(row, self.body(row)) for row in rows[start : start + CHUNK]]
                yield start, list(pool.map(hear_one, bodies))


def _unreadable_data(message: str) -> ProgramFailure:
    return ProgramFailure("unreadable_data", message, hint="Prepare the data set again.")


def build_store(
    folder: Path, source: AudioSource, rows: Sequence[AudioRow], rate: int, length: int,
    progress: Callable[[float], None],
) -> np.ndarray:  # fmt: skip
    """All spectrograms as one memory-mapped uint8 array [N, frames, BANDS, 1]; made once, then found again.

    `folder` belongs to the data that `source` reads. Several processes may build at the same time: each has a file of
    its own, and the last one stays. `progress` is told the share that is done and may raise to stop.
    """
    facts = [[row.member for row in rows], rate, length, soundfile.__libsndfile_version__]
    digest = hashlib.sha256(json.dumps(facts).encode() + HEARING.read_bytes()).hexdigest()
    path = folder / f"spectrograms-{digest[:16]}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            shape = (len(rows), frames_of(length, rate), BANDS, 1)
            store = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            for start, heard in source.hear_all(rows, partial(hear, rate=rate, length=length)):
                store[start : start + len(heard)] = np.stack(heard)
                progress((start + len(heard)) / len(rows))
            store.flush()
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")
