"""All files of a model version as one ZIP, made while it is sent, with a program that asks the model anywhere.

The program is the one that serves it here: `workers.inference.predict` and what that imports, copied as it is.
"""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from django.conf import settings

from apps.core.storage import BLOCK_BYTES, open_blob
from apps.registry.figures import figures
from workers.contract import ANSWER_RETRIEVAL, MULTI_LABEL_IMAGES, SPEECH_RECOGNITION, TRANSLATION
from workers.domains import AUDIO, IMAGE, SERIES, TABLE, TASKS, TEXT, USER
from workers.texts import PRETRAINED

FILE_MODE = 0o644 << 16
PROGRAM = "predict.py"
Moment = tuple[int, int, int, int, int, int]
SHARED_CODE = (
    "workers/__init__.py",
    "workers/arrays.py",
    "workers/contract.py",
    "workers/domains.py",
    "workers/inference/__init__.py",
    "workers/inference/files.py",
    "workers/inference/outcomes.py",
    "workers/inference/packing.py",
    "workers/inference/parity.py",
    "workers/inference/predictor.py",
)


@dataclass(frozen=True)
class Kind:
    """What models of one kind of data need to be asked: code, packages, and the name of a file to ask about."""

    code: tuple[str, ...]
    packages: str
    asked: str


TABLES = tuple(f"workers/tables/{name}.py" for name in ("__init__", "cells", "columns", "encoder"))
# By task, or by what models are asked with.
KINDS = {
    TABLE: Kind(
        (*TABLES, "workers/trees.py", "workers/inference/table_predictor.py"),
        "numpy onnxruntime",
        "rows.csv",
    ),
    IMAGE: Kind(
        ("workers/images.py", "workers/inference/image_predictor.py"), "numpy pillow onnxruntime", "picture.jpg"
    ),
    MULTI_LABEL_IMAGES: Kind(
        ("workers/images.py", "workers/inference/image_predictor.py", "workers/inference/label_predictor.py"),
        "numpy pillow onnxruntime",
        "picture.jpg",
    ),
    USER: Kind(
        ("workers/recommending.py", "workers/neighbours.py", "workers/inference/recommendation_predictor.py"),
        "numpy onnxruntime",
        "users.txt",
    ),
    SERIES: Kind(
        (
            "workers/interactions.py",
            *TABLES,
            "workers/trees.py",
            "workers/series/__init__.py",
            "workers/series/columns.py",
            "workers/series/features.py",
            "workers/series/frequency.py",
            "workers/series/model.py",
            "workers/series/regular.py",
            "workers/series/storing.py",
            "workers/series/times.py",
            "workers/inference/forecast_predictor.py",
        ),
        "numpy onnxruntime",
        "history.csv",
    ),
    AUDIO: Kind(
        ("workers/audio.py", "workers/inference/audio_predictor.py"),
        "numpy soundfile onnxruntime",
        "recording.wav",
    ),
    SPEECH_RECOGNITION: Kind(
        (
            "workers/audio.py",
            "workers/inference/characters.py",
            "workers/inference/ctc.py",
            "workers/inference/hearing.py",
            "workers/inference/speech.py",
            "workers/inference/speech_predictor.py",
        ),
        "numpy soundfile onnxruntime",
        "recording.wav",
    ),
    TEXT: Kind(("workers/texts.py", "workers/inference/text_predictor.py"), "numpy onnxruntime", "texts.txt"),
    ANSWER_RETRIEVAL: Kind(
        (
            "workers/texts.py",
            "workers/lexical.py",
            "workers/retrieving.py",
            "workers/inference/retrieval_predictor.py",
        ),
        "numpy onnxruntime",
        "texts.txt",
    ),
    TRANSLATION: Kind(
        (
            "workers/texts.py",
            "workers/subwords.py",
            "workers/inference/beams.py",
            "workers/inference/decoding.py",
            "workers/inference/translations.py",
            "workers/inference/translation_predictor.py",
            "workers/inference/writing.py",
        ),
        "numpy onnxruntime tokenizers",
        "texts.txt",
    ),
}


OF_A_CHECKPOINT = ("workers/pretrained/__init__.py", "workers/pretrained/encoder.py", "workers/pretrained/families.py")
WHISPER = "whisper"
OF_WHISPER = (
    "workers/subwords.py",
    "workers/texts.py",
    "workers/inference/beams.py",
    "workers/inference/decoding.py",
    "workers/inference/whisper_predictor.py",
    "workers/inference/writing.py",
)
PIECES_OF_A_CHECKPOINT = (
    "workers/pretrained/__init__.py",
    "workers/pretrained/families.py",
    "workers/pretrained/languages.py",
    "workers/pretrained/pieces.py",
    "workers/pretrained/sentencepieces.py",
)


def kind_of(task: str, meta: dict) -> Kind:
    kind = KINDS.get(task) or KINDS[TASKS[task].asks]
    if (meta.get("encoder") or {}).get("kind") == PRETRAINED:
        return replace(kind, code=kind.code + OF_A_CHECKPOINT, packages=f"{kind.packages} tokenizers")
    if (meta.get("pieces") or {}).get("kind") == PRETRAINED:
        kind = replace(kind, code=kind.code + PIECES_OF_A_CHECKPOINT)
    if meta.get("writes") == WHISPER:
        return replace(kind, code=kind.code + OF_WHISPER, packages=f"{kind.packages} tokenizers")
    return kind


class _Pipe:
    """A file that only grows: what ZipFile writes is taken away again and again."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        taken, self.written = bytes(self.written), bytearray()
        return taken


def zip_files(blobs: Iterable[tuple[str, str]], texts: dict[str, str], modified: Moment) -> Iterator[bytes]:
    """Blocks of a ZIP with `blobs`, (name, sha256) each, stored as they are, and `texts` by name, deflated.

    Raises FileNotFoundError.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, sha256 in blobs:
            with open_blob(sha256) as source, archive.open(_entry(name, modified), "w", force_zip64=True) as target:
                for block in _blocks(source):
                    target.write(block)
                    yield pipe.take()
            yield pipe.take()
        for name, text in texts.items():
            archive.writestr(_entry(name, modified), text, zipfile.ZIP_DEFLATED)
            yield pipe.take()
    yield pipe.take()


def _entry(name: str, modified: Moment) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, modified)
    entry.external_attr = FILE_MODE
    return entry


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    while block := source.read(BLOCK_BYTES):
        yield block


def texts_of(title: str, task: str, meta: dict, metrics: dict) -> dict[str, str]:
    """What goes into the ZIP beside a model's own files, by name."""
    code = SHARED_CODE + kind_of(task, meta).code
    texts = {"README.md": readme(title, task, meta, metrics), PROGRAM: _source("workers/inference/predict.py")}
    return texts | {name: _source(name) for name in code}


def _source(name: str) -> str:
    return (settings.BASE_DIR / name).read_text(encoding="utf-8")


def readme(title: str, task: str, meta: dict, metrics: dict) -> str:
    """How to ask the model, what it takes, and how good it is."""
    kind = kind_of(task, meta)
    lines = [
        f"# {title}",
        "",
        "A model made with Lepton, with the program that asks it. It needs Python 3.11 or newer, and no site.",
        "",
        f"    python -m pip install {kind.packages}",
        f"    python {PROGRAM} {kind.asked}",
        f"    python {PROGRAM} --check",
        "",
        "The first asks the model and prints JSON; the second compares its answer to the sample with the recorded one.",
        f"All options: `python {PROGRAM} --help`. The code below `workers/` is what serves the model on a site.",
        "",
        "## What it takes",
        "",
        *_input_lines(meta, task),
        "",
    ]
    return "\n".join([*lines, *_preparation_lines(meta), *_quality_lines(metrics)])


def _preparation_lines(meta: dict) -> list[str]:
    steps = meta.get("preparation") or []
    if not steps:
        return []
    return ["## What was done to its data", "", *(f"- {step['message']}" for step in steps), ""]


def _input_lines(meta: dict, task: str) -> list[str]:
    asked = meta.get("input") or {}
    kind = TASKS[task].asks
    if kind == IMAGE:
        colour = "grey" if asked.get("channels") == 1 else "colour"
        size = f"{asked.get('width')} x {asked.get('height')} pixels, {colour}"
        lines = [f"A picture of any size (PNG, JPEG, WebP, BMP, GIF, TIFF), which is scaled to {size}."]
    elif task == SPEECH_RECOGNITION:
        lines = ["Recordings of speech (WAV, FLAC, MP3, OGG, AIFF), of up to ten minutes."]
    elif kind == AUDIO:
        seconds = asked["length"] / asked["rate"]
        lines = [f"A recording (WAV, FLAC, MP3, OGG, AIFF), of whose loudest {seconds:g} seconds it hears."]
    elif kind == TEXT:
        lines = [f"Texts, one on each line of a .txt file, or a CSV file with the column `{asked.get('column')}`."]
    elif kind == USER:
        column = asked.get("columns_by_role", {}).get("user")
        known = f"It knows {asked.get('users'):,} users and {asked.get('items'):,} items."
        return [
            f"Users, one on each line of a .txt file, or a CSV file with the column `{column}`. {known}",
            "",
            "It answers with the items that each will like best, without those that they have taken already.",
        ]
    elif kind == SERIES:
        return _series_lines(asked)
    else:
        lines = ["A CSV file with a header and these columns; others are ignored, empty cells are missing values.", ""]
        lines += [f"- `{column['name']}`: {column['type']}" for column in asked.get("columns") or []]
    classes = meta.get("classes")
    if task == TRANSLATION:
        answer = f"a translation of each, as those in the column `{meta.get('target')}`, and how sure it is"
    elif task == MULTI_LABEL_IMAGES:
        answer = f"those of {len(classes)} labels that the picture has: {', '.join(classes)}"
    elif task == SPEECH_RECOGNITION:
        answer = "what is said, how sure it is, and when each word is said, in seconds"
    elif task == ANSWER_RETRIEVAL:
        answer = f"those of {asked.get('answers', 0):,} answers that fit each best, and whether it knows"
    elif classes:
        answer = f"one of {len(classes)} classes: {', '.join(classes)}"
    else:
        answer = f"a value: {meta.get('target', '')}"
    return [*lines, "", f"It answers with {answer}."]


def _series_lines(asked: dict) -> list[str]:
    columns = asked["columns_by_role"]
    named = f", and `{columns['series']}`, which names the series" if columns.get("series") else ""
    return [
        f"A CSV file with the columns `{columns['time']}` and `{columns['target']}`{named}: the values until now. "
        "Without values, names of series that it knows.",
        "",
        f"It answers with the next {asked['horizon']} values of each series ({asked['frequency']}), and with the range "
        "that holds 80 % of them.",
    ]


def _quality_lines(metrics: dict) -> list[str]:
    lines = ["## How good it is", ""]
    for split, name in (("test", "Test data"), ("val", "Validation data")):
        if values := figures(metrics.get(split)):
            lines += [f"{name}: {', '.join(f'{item.label.lower()} {item.text}' for item in values)}.", ""]
    return lines if len(lines) > 2 else []
