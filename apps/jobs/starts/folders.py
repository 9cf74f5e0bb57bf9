"""Checkpoints in folders that an administrator has put below LEPTON_CHECKPOINTS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import NotFound
from apps.core.storage import put_file
from workers.pretrained.families import CARD_FILE, CONFIG_FILE, NAME, CheckpointRefused, Facts, choose_files, facts_of
from workers.pretrained.languages import TEXT_FILES, read_texts, told_of


@dataclass(frozen=True)
class Listed:
    """A folder: what it holds, or why no training can start from it."""

    name: str
    facts: Facts | None
    refusal: str = ""


def list_folders(task: str) -> list[Listed]:
    """All folders, those first that a model of `task` can start from."""
    found = [_listed(path, task) for path in sorted(_folders())]
    return sorted(found, key=lambda item: item.facts is None)


def _listed(path: Path, task: str) -> Listed:
    try:
        return Listed(path.name, read_folder(path, task)[1])
    except (CheckpointRefused, OSError) as error:
        return Listed(path.name, None, str(error))


def told_folder(name: str, task: str) -> dict[str, list[str]] | None:
    """The settings by which the checkpoint in the folder called `name` is told of languages, and the codes that each
    may be (workers.pretrained.languages.told_of); None where that is not known, or nothing of the kind."""
    path = next((path for path in _folders() if path.name == name), None)
    if path is None:
        return None
    try:
        files, facts = read_folder(path, task)
        texts = {file: (path / file).read_bytes() for file in TEXT_FILES if file in files}
    except (CheckpointRefused, OSError):
        return None
    return told_of(facts.family, read_texts(texts))


def take_folder(name: str, task: str) -> dict[str, dict[str, Any]]:
    """Put the files of the folder called `name` into storage; returns them by name. Raises NotFound,
    CheckpointRefused."""
    path = next((path for path in _folders() if path.name == name), None)
    if path is None:
        message = _("There is no checkpoint %(name)s. Folders of this site: %(known)s; a name with a slash is a hub's.")
        known = ", ".join(sorted(item.name for item in _folders())) or "-"
        raise NotFound(message % {"name": name, "known": known}, code="unknown_checkpoint", field="start_from")
    files, _facts = read_folder(path, task)
    return {file: put_file(path / file).as_dict() for file in files}


def read_folder(path: Path, task: str) -> tuple[dict[str, int], Facts]:
    """The sizes of the files that a training reads, and what they say. Raises CheckpointRefused, OSError."""
    root = _root().resolve()
    inside = [file for file in path.iterdir() if file.is_file() and file.resolve().is_relative_to(root)]
    sizes = {file.name: file.stat().st_size for file in inside}
    files = choose_files(sizes, task, most_bytes=settings.LEPTON_MAX_CHECKPOINT_BYTES)
    card = (path / CARD_FILE).read_bytes() if CARD_FILE in files else b""
    weights = sum(size for name, size in files.items() if name.endswith(".safetensors"))
    return files, facts_of((path / CONFIG_FILE).read_bytes(), card, weights, task)


def _folders() -> list[Path]:
    """Nothing that lies elsewhere, whatever a link says."""
    root = _root()
    if not root.is_dir():
        return []
    inside = [path for path in root.iterdir() if path.resolve().is_relative_to(root.resolve())]
    return [path for path in inside if path.is_dir() and NAME.fullmatch(path.name)]


def _root() -> Path:
    return Path(settings.LEPTON_CHECKPOINTS)
