"""Recordings: decode every one, settle classes, speakers and splits, write data.zip, index.jsonl and excerpts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from workers.audio import FORMATS
from workers.contract import (
    AUDIO_CLASSIFICATION,
    KIND_AUDIO,
    SPEECH_RECOGNITION,
    SPLITS,
    EventWriter,
    PrepareSpec,
    ProgramFailure,
)
from workers.preprocessing.checking import check_classes, check_files, pick_of_each_class
from workers.preprocessing.decoding import RECORDINGS, DecoderPool, Heard
from workers.preprocessing.doctor.features import sound_features
from workers.preprocessing.doctor.label_errors import warn_of_labels
from workers.preprocessing.findings import Findings
from workers.preprocessing.images import ONE_DATE
from workers.preprocessing.items import Items
from workers.preprocessing.layout import read_layout
from workers.preprocessing.limits import Limits
from workers.preprocessing.metadata import FORM, read_metadata
from workers.preprocessing.recipe import Recipe
from workers.preprocessing.recording_warnings import warn_of_recordings, warn_of_speech
from workers.preprocessing.report import BadItems, Progress
from workers.preprocessing.sources import AUDIO_ENDINGS, TABLE_ENDINGS, Bundle, Member, Sources, ending_of
from workers.preprocessing.splitting import Assignment, assign_splits, count_classes
from workers.preprocessing.transcripts import (
    are_classes,
    are_mostly_different,
    are_transcripts,
    describe_transcripts,
)
from workers.spelling import USUAL

LOOKED_AT = 10_000  # recordings whose labels are looked at
EXCERPTS_OF_FINDINGS = 60
PICTURE, EXCERPT = "picture", "excerpt"
ENDINGS = {"WAV": ".wav", "FLAC": ".flac", "MP3": ".mp3", "OGG": ".ogg", "AIFF": ".aiff"}
SPEAKERS_TO_PART = 8  # of so many about a tenth of the speech is that of one
SHOWN_SPEECH = 12
SPEAKERS_OF_A_CLASS = 3  # each class needs so many, if no speaker is to stand in two of train, val and test


@dataclass(frozen=True)
class Candidate:
    """A file that is called a recording and has a class, or a transcript, or both; `label` is "" where it has none."""

    member: Member
    label: str
    transcript: str | None
    split: str | None
    speaker: str | None


@dataclass(frozen=True)
class Recording:
    """A sound recording in data.zip under `member`; `sound` is equal for equal samples, whatever the format."""

    member: str
    label: str
    transcript: str | None
    given: str | None
    speaker: str | None
    source: str
    heard: Heard

    @property
    def sound(self) -> str:
        return self.heard.sound


def prepare_recordings(
    sources: Sources,
    spec: PrepareSpec,
    recipe: Recipe,
    output: Path,
    scratch: Path,
    limits: Limits,
    events: EventWriter,
) -> dict[str, Any]:
    """Write data.zip, index.jsonl and thumbs/ into `output`; return the report. Raises ProgramFailure."""
    bad, findings = BadItems(limits.max_bad_listed), Findings()
    candidates = choose(recipe, settle_labels(find_candidates(sources, scratch, limits, bad)))
    if not candidates:
        raise no_recordings(bad)
    workers = max(1, min(spec.threads, 8))
    with DecoderPool(workers, limits, RECORDINGS) as pool, zipfile.ZipFile(output / "data.zip", "w") as archive:
        progress = Progress(events, len(candidates))
        checked = check_files(candidates, pool, workers, limits, bad, progress, "recordings")
        recordings = [store(archive, *found) for found in checked]
        if not recordings:
            raise no_recordings(bad)
        is_speech = use_of(recordings) == SPEECH_RECOGNITION
        if is_speech:
            splits = split_speech(recordings, spec, recipe, bad, findings)
        else:
            check_classes([each.label for each in recordings], bad, limits, "recordings")
            splits = split_recordings(recordings, spec, recipe, findings)
            events.progress(0.96, "Looking for wrong labels")
            examine(recordings, splits.splits, findings)
        archive.writestr(zipfile.ZipInfo("metadata.csv", ONE_DATE), metadata_of(recordings, splits.splits))
        thumbnails = make_excerpts(recordings, pool, archive, output, limits)
        show_found(findings, recordings, pool, archive, output)
    write_index(output / "index.jsonl", recordings, splits.splits)
    return build_report(recordings, splits, bad, findings, thumbnails) | {
        "steps": describe_steps(len(candidates), bad, recipe),
        "ignored": sources.ignored,
        "data_bytes": (output / "data.zip").stat().st_size,
    }


def find_candidates(sources: Sources, scratch: Path, limits: Limits, bad: BadItems) -> list[Candidate]:
    """The recordings that have a class, by a table where there is one, else by their folders; the other files are bad
    items."""
    tables = [member for member in sources.members if ending_of(member.path) in TABLE_ENDINGS]
    recordings = [member for member in sources.members if ending_of(member.path) in AUDIO_ENDINGS]
    described = read_metadata(tables, recordings, scratch, limits, bad) if tables else {}
    found = []
    for bundle in sources.bundles:
        inside = [member for member in bundle.members if ending_of(member.path) in AUDIO_ENDINGS]
        places = dict(zip(inside, read_layout([member.path for member in inside]), strict=True))
        for member in bundle.members:
            if member in described:
                about = described[member]
                split = member.split or about.split or bundle.split
                found.append(Candidate(member, about.label, about.transcript, split, about.speaker))
            elif member in places and not tables and places[member].label is not None:
                place = places[member]
                split = member.split or place.split or bundle.split
                found.append(Candidate(member, place.label, None, split, None))
            else:
                refuse(member, bundle, bool(tables), bad)
    return found


def settle_labels(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Labels that are whole sentences are what is said and no classes; and what is said, where it is always one of a
    few, is a class as well."""
    if any(each.transcript for each in candidates):
        said = [each.transcript or "" for each in candidates]
        if not any(each.label for each in candidates) and are_classes(said):
            return [replace(each, label=each.transcript or "") for each in candidates]
    elif are_transcripts([each.label for each in candidates]):
        return [replace(each, label="", transcript=each.label) for each in candidates]
    return list(candidates)


def choose(recipe: Recipe, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates as they were decided about. In speech, what gets another label gets another transcript."""
    if recipe.task != SPEECH_RECOGNITION:
        return list(recipe.choose(candidates))
    said = recipe.choose([replace(each, label=each.transcript or "") for each in candidates])
    has_classes = any(each.label for each in candidates)
    return [replace(each, label=each.label if has_classes else "", transcript=each.label or None) for each in said]


def use_of(recordings: Sequence[Recording]) -> str:
    """The task that they are usually for: to tell classes apart where a table has these beside transcripts."""
    is_speech = all(each.transcript for each in recordings) and all(
        each.label in ("", each.transcript) for each in recordings
    )
    return SPEECH_RECOGNITION if is_speech else AUDIO_CLASSIFICATION


def uses_of(recordings: Sequence[Recording]) -> list[str]:
    """All tasks that they can be used for, the usual one first. Classes can be learned to be written down, too."""
    usual = use_of(recordings)
    if usual == AUDIO_CLASSIFICATION:
        return [AUDIO_CLASSIFICATION, SPEECH_RECOGNITION]
    return [SPEECH_RECOGNITION, AUDIO_CLASSIFICATION] if recordings[0].label else [SPEECH_RECOGNITION]


def refuse(member: Member, bundle: Bundle, has_tables: bool, bad: BadItems) -> None:
    """Say why a file is left out; tables and their rows have been dealt with."""
    ending = ending_of(member.path)
    if ending in TABLE_ENDINGS:
        return
    if ending not in AUDIO_ENDINGS:
        kind = ending or "a file without an ending"
        bad.add(member.name, f"not a recording ({kind}); recordings are {FORMATS}", "not_audio")
    elif has_tables:
        bad.add(member.name, "no row of the table gives it a label", "no_label")
    else:
        bad.add(member.name, "lies in no class folder", "no_class_folder")


def no_recordings(bad: BadItems) -> ProgramFailure:
    hint = f"Recordings are {FORMATS}, in one folder per class or with a metadata.csv. {FORM}"
    if count := bad.counts.get("no_class_folder", 0):
        message = f"None of the {count} recordings lies in a class folder, and no metadata.csv gives them labels."
        return ProgramFailure("no_class_folders", message, hint=hint)
    return ProgramFailure("no_recordings", f"No recording of this upload can be used. {bad.first()}.", hint=hint)


def store(archive: zipfile.ZipFile, number: int, candidate: Candidate, data: bytes, heard: Heard) -> Recording:
    """Write the original bytes under a name of our own; neither names nor labels of strangers become a path."""
    name = f"recordings/{number:06d}{ENDINGS[heard.format]}"
    archive.writestr(zipfile.ZipInfo(name, ONE_DATE), data)
    about = candidate
    return Recording(name, about.label, about.transcript, about.split, about.speaker, about.member.name, heard)


def split_speech(
    recordings: Sequence[Recording], spec: PrepareSpec, recipe: Recipe, bad: BadItems, findings: Findings
) -> Assignment:
    """Of many speakers none stands in two parts; else, where sentences differ, no sentence does; else each sentence is
    divided alike. Raises ProgramFailure."""
    texts, given = [USUAL.tidy(each.transcript or "") for each in recordings], [each.given for each in recordings]
    is_varied, speakers = are_mostly_different(texts), {each.speaker for each in recordings} - {None}
    if len(speakers) >= SPEAKERS_TO_PART and not any(given):
        keys = [f"speaker {each.speaker}" if each.speaker else each.sound for each in recordings]
    else:
        keys = texts if is_varied else [each.sound for each in recordings]
    labels = [""] * len(texts) if is_varied or len(speakers) >= SPEAKERS_TO_PART else texts
    result = assign_splits(labels, keys, given, spec.split_fractions, spec.seed).as_before(recipe.split_source)
    items, missing = items_of(recordings, result.splits), bad.counts.get("missing_transcript", 0)
    warn_of_speech(recordings, items, result, missing, findings)
    return result


def split_recordings(
    recordings: Sequence[Recording], spec: PrepareSpec, recipe: Recipe, findings: Findings
) -> Assignment:
    """Settle the split and warn of what a person would want to know about the data. Raises ProgramFailure."""
    labels, given = [each.label for each in recordings], [each.given for each in recordings]
    keys = [each.sound for each in recordings]
    if keeps_speakers_apart(recordings):
        keys = [f"speaker {each.speaker}" if each.speaker else each.sound for each in recordings]
    result = assign_splits(labels, keys, given, spec.split_fractions, spec.seed)
    result = result.as_before(recipe.split_source)
    warn_of_recordings(recordings, items_of(recordings, result.splits), result, findings)
    return result


def items_of(recordings: Sequence[Recording], splits: Sequence[str]) -> Items:
    ids, labels = [each.source for each in recordings], [each.label for each in recordings]
    return Items(ids, labels, splits, lambda number: {"number": number, "seconds": recordings[number].heard.seconds})


def examine(recordings: Sequence[Recording], splits: Sequence[str], findings: Findings) -> None:
    """Labels that are probably wrong."""

    def features_of(numbers: np.ndarray) -> np.ndarray:
        glances = [np.frombuffer(recordings[number].heard.body, dtype="<f4") for number in numbers.tolist()]
        return sound_features(np.stack(glances))

    unread = [number for number, each in enumerate(recordings) if not each.heard.body]
    items = items_of(recordings, splits)
    warn_of_labels(items, features_of, "recordings", findings, looked_at=LOOKED_AT, unreadable=unread)


def show_found(
    findings: Findings, recordings: Sequence[Recording], pool: DecoderPool, archive: zipfile.ZipFile, output: Path
) -> None:
    """A spectrogram and an excerpt for each recording that a finding shows, as far as they are shown."""
    made: dict[int, dict[str, str]] = {}
    for item in findings.shown_items():
        number = item.pop("number")
        if number not in made and len(made) < EXCERPTS_OF_FINDINGS:
            body = archive.read(recordings[number].member)
            (picture,), (excerpt,) = (pool.submit(mode, [body]).result() for mode in (PICTURE, EXCERPT))
            made[number] = {"picture": f"thumbs/found-{number:06d}.png", "audio": f"thumbs/found-{number:06d}.wav"}
            (output / made[number]["picture"]).write_bytes(picture.body)
            (output / made[number]["audio"]).write_bytes(excerpt.body)
        item |= made.get(number, {})


def describe_steps(candidates: int, bad: BadItems, recipe: Recipe) -> list[dict[str, Any]]:
    """What was done to make this version, in order."""
    decoded = "Decoded every recording to see that it is whole; its own bytes are kept"
    return [
        recipe.said("decode", "decode", decoded, touched=candidates, noun="files"),
        recipe.said("bad_items", "bad_items", "Left out files that cannot be used", touched=bad.total, noun="files"),
        *recipe.describe(),
    ]


def keeps_speakers_apart(recordings: Sequence[Recording]) -> bool:
    """Whether speakers are known, and each class has enough of them to be heard in every part by others. A split of
    the user's in which speakers stand in several parts says that this is not asked for."""
    speakers: dict[str, set[str | None]] = defaultdict(set)
    parts: dict[str, set[str]] = defaultdict(set)
    for each in recordings:
        speakers[each.label].add(each.speaker)
        if each.speaker and each.given:
            parts[each.speaker].add(each.given)
    if any(len(found) > 1 for found in parts.values()):
        return False
    return all(len(found - {None}) >= SPEAKERS_OF_A_CLASS for found in speakers.values())


def metadata_of(recordings: Sequence[Recording], splits: Sequence[str]) -> str:
    """So that data.zip, downloaded, can be uploaded again."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    said = ("label", "transcript")
    columns = [name for name in said if any(getattr(each, name) for each in recordings)]
    if use_of(recordings) == SPEECH_RECOGNITION:
        columns = ["transcript"]
    writer.writerow(["file_name", *columns, "speaker", "split"])
    for each, split in zip(recordings, splits, strict=True):
        values = [getattr(each, name) or "" for name in columns]
        writer.writerow([each.member, *values, each.speaker or "", split])
    return out.getvalue()


def make_excerpts(
    recordings: Sequence[Recording], pool: DecoderPool, archive: zipfile.ZipFile, output: Path, limits: Limits
) -> list[dict[str, Any]]:
    """A few recordings, of each class where there are any, chosen by content: a spectrogram and an excerpt of each."""
    (output / "thumbs").mkdir()
    done = []
    chosen = pick_of_each_class(recordings, "sound", limits.thumbnail_classes, limits.excerpts_per_class)
    if use_of(recordings) == SPEECH_RECOGNITION:
        chosen = sorted(recordings, key=lambda each: each.sound)[:SHOWN_SPEECH]
    for number, each in enumerate(chosen):
        body = archive.read(each.member)
        (picture,), (excerpt,) = (pool.submit(mode, [body]).result() for mode in (PICTURE, EXCERPT))
        if picture.body and excerpt.body:
            files = {"file": f"thumbs/{number:04d}.png", "audio": f"thumbs/{number:04d}.wav"}
            (output / files["file"]).write_bytes(picture.body)
            (output / files["audio"]).write_bytes(excerpt.body)
            done.append({"label": each.label, "transcript": each.transcript, **files, "seconds": each.heard.seconds})
    return done


def write_index(path: Path, recordings: Sequence[Recording], splits: Sequence[str]) -> None:
    """One JSON object per line: member, label, transcript, split, speaker, seconds, rate, sound, source."""
    with open(path, "w", encoding="utf-8") as file:
        for each, split in zip(recordings, splits, strict=True):
            entry = {
                "member": each.member,
                "label": each.label,
                "transcript": each.transcript,
                "split": split,
                "speaker": each.speaker,
                "seconds": each.heard.seconds,
                "rate": each.heard.rate,
                "sound": each.sound,
                "source": each.source,
            }
            file.write(json.dumps(entry) + "\n")


def build_report(
    recordings: Sequence[Recording],
    splits: Assignment,
    bad: BadItems,
    findings: Findings,
    thumbnails: list[dict[str, Any]],
) -> dict[str, Any]:
    lines = sorted(
        f"{r.sound} {split} {r.label}{f' {r.transcript}' if r.transcript else ''}"
        for r, split in zip(recordings, splits.splits, strict=True)
    )
    tasks, labels = uses_of(recordings), [each.label for each in recordings]
    said = [each.transcript for each in recordings if each.transcript]
    return {
        "kind": KIND_AUDIO,
        "task": tasks[0],
        "tasks": tasks,
        "target": None,
        "items": len(recordings),
        "bad": bad.listed,
        "bad_total": bad.total,
        "classes": count_classes(labels, splits.splits) if tasks[0] == AUDIO_CLASSIFICATION else [],
        "speech": describe_transcripts(said) if said else None,
        "splits": {split: splits.splits.count(split) for split in SPLITS},
        "split_source": splits.source,
        "columns": [],
        "preview": [],
        "thumbnails": thumbnails,
        "audio": describe_lengths(recordings),
        "content_hash": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "findings": findings.ordered(),
        "remedies": findings.remedies,
    }


def describe_lengths(recordings: Sequence[Recording]) -> dict[str, Any]:
    lengths = [each.heard.seconds for each in recordings]
    rates = Counter(each.heard.rate for each in recordings)
    return {
        "seconds": round(sum(lengths), 1),
        "median_seconds": round(median(lengths), 2),
        "shortest_seconds": min(lengths),
        "longest_seconds": max(lengths),
        "rates": [[rate, count] for rate, count in rates.most_common()],
        "speakers": len({each.speaker for each in recordings if each.speaker}),
    }
