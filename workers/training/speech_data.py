"""Recordings and transcripts of a data set version: spectrograms of any length, and texts as characters."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from workers.audio import decode
from workers.contract import EventWriter, ProgramFailure, TrainSpec
from workers.inference.hearing import Hearing, Spectra
from workers.spelling import Spelling
from workers.training.audio_data import HEARING, AudioRow, AudioSource, choose_rate, read_index
from workers.training.classifiers import split_rows
from workers.training.text_data import Ragged

MEASURED_ROWS = 2_000  # of which mean and deviation of each band are taken
SPARE_LENGTH, MOST_SECONDS = 1.5, 40.0


@dataclass(frozen=True)
class SpeechData:
    """A data set version as a recogniser hears it. `texts` are tidied transcripts, `labels` their characters as places
    in `alphabet`, from 1 on; the model hears them as `hearing` says."""

    source: AudioSource
    rows: list[AudioRow]
    texts: list[str]
    alphabet: list[str]
    labels: Ragged
    splits: dict[str, np.ndarray]
    store: Sounds
    hearing: Hearing

    @property
    def rate(self) -> int:
        return self.hearing.rate

    def texts_of(self, rows: np.ndarray) -> list[str]:
        return [self.texts[row] for row in rows]

    def seconds_of(self, rows: np.ndarray) -> float:
        return float(self.store.lengths[rows].sum()) * self.hearing.seconds


class Sounds:
    """Moments of recordings of many lengths, one behind the other in `flat` [moments, ...]; each ends where `ends`
    says. Those that are asked for together come with silence behind the shorter ones, [n, T, ...]."""

    def __init__(self, flat: np.ndarray, ends: np.ndarray) -> None:
        self.flat, self.ends = flat, ends
        self.lengths = np.diff(ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        longest = int(self.lengths[numbers].max())
        sounds = np.zeros((len(numbers), longest, *self.flat.shape[1:]), dtype=self.flat.dtype)
        for target, number in zip(sounds, numbers, strict=True):
            target[: self.lengths[number]] = self.row(int(number))
        return sounds

    def row(self, number: int) -> np.ndarray:
        return self.flat[self.ends[number] - self.lengths[number] : self.ends[number]]


def load_data(
    spec: TrainSpec, events: EventWriter, progress: Callable[[float], None], hearing: Hearing | None = None
) -> SpeechData:
    """Hear the data set version once, as spectrograms where no `hearing` is given. `progress` is told the share that is
    done and may raise to stop. Raises ProgramFailure: no_transcripts, no_training_recordings, and as `AudioSource`
    does."""
    settings = spec.hyperparameters
    rows, texts = read_transcripts(Path(spec.index_path), Spelling.from_settings(settings), events)
    rate = choose_rate(rows) if settings["sample_rate"] == "auto" else int(settings["sample_rate"])
    hearing = hearing or Spectra(rate)
    source = AudioSource(Path(spec.data_path), spec.threads)
    store = build_store(Path(spec.cache_dir or Path(spec.work_dir, "cache")), source, rows, hearing, progress)
    splits = split_rows([row.split for row in rows], [""] * len(rows), settings["seed"], "recording")
    splits = leave_out(splits, texts, store.lengths, hearing, settings["max_seconds"], events)
    alphabet = sorted(set("".join(texts[row] for row in splits["train"])))
    data = SpeechData(source, rows, texts, alphabet, encode(texts, alphabet), splits, store, hearing)
    train = splits["train"]
    events.log(
        f"{len(train):,} recordings to learn from, {data.seconds_of(train) / 60:.1f} minutes, heard at {data.rate:,} "
        f"samples a second; {sum(len(texts[row]) for row in train):,} characters, {len(alphabet)} different."
    )
    return data


def read_transcripts(path: Path, spelling: Spelling, events: EventWriter) -> tuple[list[AudioRow], list[str]]:
    """The recordings with a transcript, and what is said in each. Where no recording has one, its label is taken for
    what is said."""
    rows = read_index(path)
    has_transcripts = any(row.transcript for row in rows)
    texts = [spelling.tidy(row.transcript if has_transcripts else row.label) for row in rows]
    kept = [place for place, text in enumerate(texts) if text]
    if not kept:
        message = f"None of the {len(rows):,} recordings has a transcript."
        raise ProgramFailure("no_transcripts", message, hint='Add a column "transcript" to the metadata.csv.')
    if left := len(rows) - len(kept):
        events.log(f"{left:,} recordings have no transcript and are left out.", "warning")
    return [rows[place] for place in kept], [texts[place] for place in kept]


def leave_out(
    splits: Mapping[str, np.ndarray], texts: Sequence[str], lengths: np.ndarray, hearing: Hearing,
    most_seconds: float, events: EventWriter,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The splits without what cannot be learned from: recordings that are longer than `most_seconds`, and those whose
    transcripts have more characters than the network answers frames. What is for the test stays. Raises ProgramFailure
    no_training_recordings."""
    needed = np.array([frames_needed(text) for text in texts])
    is_long, is_crowded = lengths * hearing.seconds > most_seconds, needed * hearing.step > lengths
    kept = {}
    for name, rows in splits.items():
        out = is_long[rows] | is_crowded[rows]
        kept[name] = rows if name == "test" else rows[~out]
        if name != "test" and out.any():
            events.log(
                f"Of the {name} part {is_long[rows].sum():,} recordings are longer than {most_seconds:g} s and "
                f"{(is_crowded & ~is_long)[rows].sum():,} have more text than can be said in them; they are left out.",
                "warning",
            )
    if not len(kept["train"]) or not len(kept["val"]):
        message = f"No recording is left to {'judge by' if len(kept['train']) else 'learn from'}."
        hint = "Raise max_seconds, or see whether each transcript belongs to its recording."
        raise ProgramFailure("no_training_recordings", message, hint=hint, field="max_seconds")
    return kept


def frames_needed(text: str) -> int:
    """How many frames a path of `text` has at least: one for each character, and a blank between two that are alike."""
    return len(text) + sum(one == other for one, other in zip(text, text[1:], strict=False))


def encode(texts: Sequence[str], alphabet: Sequence[str]) -> Ragged:
    """Characters that are not in the alphabet are left out: nothing is known of them."""
    places = {letter: place for place, letter in enumerate(alphabet, 1)}
    return Ragged([np.array([places[c] for c in text if c in places], dtype=np.int32) for text in texts])


def build_store(
    folder: Path, source: AudioSource, rows: Sequence[AudioRow], hearing: Hearing, progress: Callable[[float], None]
) -> Sounds:
    """The moments of all, made once, then found again in `folder`, which belongs to the data that `source` reads.
    Several processes may build at the same time; the last one's files stay."""
    facts = [[row.member for row in rows], repr(hearing), soundfile.__libsndfile_version__]
    digest = hashlib.sha256(json.dumps(facts).encode() + HEARING.read_bytes()).hexdigest()[:16]
    flat, ends = folder / f"speech-{digest}.frames", folder / f"speech-{digest}.npy"
    if not (flat.exists() and ends.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = [path.with_suffix(f".{os.getpid()}{path.suffix}") for path in (flat, ends)]
        try:
            _write_store(*temporary, source, rows, hearing, progress)
            for made, path in zip(temporary, (flat, ends), strict=True):
                os.replace(made, path)
        finally:
            for path in temporary:
                path.unlink(missing_ok=True)
    moment = hearing.hear(np.zeros(0, dtype=np.float32))
    return Sounds(np.memmap(flat, dtype=moment.dtype, mode="r").reshape(-1, *moment.shape[1:]), np.load(ends))


def _write_store(
    flat: Path,
    ends: Path,
    source: AudioSource,
    rows: Sequence[AudioRow],
    hearing: Hearing,
    progress: Callable[[float], None],
) -> None:
    lengths: list[int] = []
    with open(flat, "wb") as file:
        for _start, heard in source.hear_all(rows, partial(_listen, hearing=hearing)):
            for sound in heard:
                file.write(sound.tobytes())
                lengths.append(len(sound))
            progress(len(lengths) / len(rows))
    np.save(ends, np.cumsum(lengths))


def _listen(body: bytes, hearing: Hearing) -> np.ndarray:
    return hearing.hear(decode(body, hearing.rate))


def band_statistics(data: SpeechData) -> dict[str, list[float]]:
    """Mean and standard deviation of each band over some of the training recordings."""
    rows = data.splits["train"]
    rows = rows[:: max(1, len(rows) // MEASURED_ROWS)]
    frames = np.concatenate([data.store.row(int(row)) for row in rows]).astype(np.float32)
    deviation = np.maximum(frames.std(axis=0), 1.0)
    return {"mean": frames.mean(axis=0).round(4).tolist(), "deviation": deviation.round(4).tolist()}


def most_frequent(texts: Sequence[str]) -> str:
    """The first of those in the alphabet."""
    counts: Mapping[str, int] = Counter(texts)
    return min(counts, key=lambda text: (-counts[text], text))


def longest_frames(data: SpeechData) -> int:
    """How long a recording may be that is heard at once: somewhat longer than any that was learned from, and no longer
    than memory allows, of which attention takes the square of it."""
    longest = int(SPARE_LENGTH * data.store.lengths[data.splits["train"]].max())
    step = data.hearing.step
    return min(longest, round(MOST_SECONDS / data.hearing.seconds)) // step * step
