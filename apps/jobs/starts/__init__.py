"""What a training starts from: a checkpoint in one of the site's folders, or on a hub, settled when it is handed in.

The exact files are written down by their sha256, and go with the job from then on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.core.errors import Unprocessable
from apps.core.storage import open_blob
from apps.jobs.starts.folders import list_folders, take_folder
from apps.jobs.starts.hub import look_up
from workers.pretrained.families import CONFIG_FILE, CheckpointRefused, read_name
from workers.pretrained.languages import TEXT_FILES, check_told, read_texts

__all__ = ["Start", "check_start", "list_folders", "settle_start"]


@dataclass(frozen=True)
class Start:
    """`name` with the exact revision where there are several; `files` maps names to {"sha256", "bytes"}, and "hub",
    where the hub has it, for files that are not in storage yet."""

    name: str = ""
    files: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def settle_start(name: str, task: str) -> Start:
    """The checkpoint called `name` (a folder of the site, or owner/name[@revision]); nothing for an empty one. Raises
    Unprocessable for one that a model of `task` cannot start from, NotFound, and Unavailable where the hub does not
    answer."""
    if not name:
        return Start()
    try:
        wanted = read_name(name)
        if not wanted.is_on_hub:
            return Start(str(wanted), take_folder(wanted.name, task))
        found, files = look_up(wanted, task)
        return Start(str(found), files)
    except CheckpointRefused as error:
        raise Unprocessable(f"{name}: {error.message}", code=error.code, field="start_from") from error


def check_start(start: Start, task: str, settings: Mapping[str, Any]) -> None:
    """Raises Unprocessable where the checkpoint cannot be told what `settings` say of languages, or must be told
    more."""
    if not start.files:
        return
    try:
        texts = {name: _content(start, name) for name in TEXT_FILES if name in start.files}
        family = json.loads(_content(start, CONFIG_FILE))["model_type"]
        check_told(task, family, read_texts(texts), settings)
    except CheckpointRefused as error:
        raise Unprocessable(f"{start.name}: {error.message}", code=error.code, field=error.field) from error


def _content(start: Start, name: str) -> bytes:
    with open_blob(start.files[name]["sha256"]) as file:
        return file.read()
