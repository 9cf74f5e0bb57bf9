"""What a model version came with to try it: samples and examples, as pages and snippets show them."""

import base64
from typing import Any

from apps.registry.models import ModelVersion
from workers.domains import AUDIO, IMAGE, SERIES, TABLE, TASKS

PREVIEW_BYTES = 4 * 2**20
EXAMPLE_PREFIX = "example-"
PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
SOUNDS = {
    b"RIFF": "audio/wav",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"ID3": "audio/mpeg",
    b"\xff": "audio/mpeg",
}


def input_kind(version: ModelVersion) -> str:
    """What the model is asked with (workers/domains.py)."""
    return TASKS[version.model.task].asks


def data_uri(body: bytes, kinds: dict[bytes, str]) -> str:
    """A picture or a sound for a page, by its first bytes; empty where browsers do not show its kind."""
    kind = next((kind for head, kind in kinds.items() if body.startswith(head)), "")
    if not kind or len(body) > PREVIEW_BYTES:
        return ""
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


def sample_recordings(version: ModelVersion) -> list[dict[str, str]]:
    """{"file", "label", "sha256"} of the examples that the version has; what is made of a model may lack them."""
    stored = dict(version.artifacts.filter(name__startswith=EXAMPLE_PREFIX).values_list("name", "sha256"))
    listed = version.meta.get("input", {}).get("examples", [])
    return [{**item, "sha256": stored[item["file"]]} for item in listed if item["file"] in stored]


def input_columns(version: ModelVersion) -> list[dict[str, Any]]:
    """Of a table's model; none of any other."""
    return version.meta.get("input", {}).get("columns", [])


def sample_row(version: ModelVersion) -> dict[str, Any]:
    """The row the model came with."""
    return {column["name"]: column.get("example") for column in input_columns(version)}


def sample_texts(version: ModelVersion) -> list[str]:
    """Held-out texts that the model came with."""
    return version.meta.get("input", {}).get("examples", [])


def sample_input(version: ModelVersion) -> Any:
    """What the snippets send: a row, a text, a user, a question about a series, or the name of the file with the
    sample picture or recording."""
    kind = input_kind(version)
    if kind in (AUDIO, IMAGE):
        return str(version.meta.get("sample") or "")
    if kind == TABLE:
        return sample_row(version)
    if kind == SERIES:
        return version.meta.get("input", {}).get("example", {})
    return next(iter(version.meta.get("input", {}).get("examples", [])), "")
