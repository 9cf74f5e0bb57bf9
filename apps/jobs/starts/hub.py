"""Checkpoints of a hub that speaks the Hugging Face Hub's HTTP API (LEPTON_HUB_URL).

https://huggingface.co/docs/hub/api: GET /api/models/{id}/revision/{revision}?blobs=true lists the files of a commit,
with the sha256 of the large ones; GET /{id}/resolve/{commit}/{file} is a file.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import NotFound, Unavailable
from apps.core.storage import DamagedBlob, put_file
from workers.pretrained.families import CARD_FILE, CONFIG_FILE, CheckpointRefused, Name, choose_files, facts_of

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
MAIN = "main"
COMMIT, SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")
WEIGHTS = ".safetensors"
RETRY_SECONDS = 60


def look_up(wanted: Name, task: str) -> tuple[Name, dict[str, dict[str, Any]]]:
    """The name with the exact commit, and the files that a training of `task` reads. Small files are stored at once;
    what is large is named by its sha256, for the machine that trains to fetch. Raises CheckpointRefused, NotFound,
    Unavailable."""
    path = f"{wanted.owner}/{wanted.name}"
    with _hub(wanted) as hub:
        listing = _listing(hub, wanted, path)
        found = Name(wanted.owner, wanted.name, listing["sha"])
        known = {item["rfilename"]: item for item in listing["siblings"]}
        sizes = {name: int(item.get("size") or 0) for name, item in known.items()}
        names = choose_files(sizes, task, most_bytes=settings.LEPTON_MAX_CHECKPOINT_BYTES)
        files, texts = {}, {CARD_FILE: b""}
        for name in names:
            place = f"{path}/resolve/{found.revision}/{name}"
            if large := known[name].get("lfs"):
                files[name] = {"sha256": _sha256(large), "bytes": sizes[name], "hub": place}
                texts[name] = b"" if name.endswith(WEIGHTS) else _store(hub, place, sizes[name])[1]
            else:
                files[name], texts[name] = _store(hub, place, sizes[name])
    weights = sum(size for name, size in names.items() if name.endswith(WEIGHTS))
    facts_of(texts[CONFIG_FILE], texts[CARD_FILE], weights, task)
    return found, files


def download(place: str, sha256: str, target: Path) -> None:
    """A file of the hub, checked. Raises Unavailable, NotFound and DamagedBlob."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with _hub(None) as hub, hub.stream("GET", place) as answer, open(target, "wb") as file:
        answer.raise_for_status()
        for block in answer.iter_bytes():
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != sha256:
        target.unlink()
        raise DamagedBlob(f"{place} arrived damaged")


def _listing(hub: httpx.Client, wanted: Name, path: str) -> dict[str, Any]:
    answer = hub.get(f"api/models/{path}/revision/{wanted.revision or MAIN}", params={"blobs": "true"})
    answer.raise_for_status()
    listing = answer.json()
    sha = listing.get("sha") if isinstance(listing, dict) else None
    if not COMMIT.fullmatch(str(sha)):
        raise CheckpointRefused("damaged_listing", "The hub's answer names no commit.")
    return listing


def _sha256(large: dict[str, Any]) -> str:
    if not SHA256.fullmatch(str(large.get("sha256"))):
        raise CheckpointRefused("damaged_listing", "The hub's listing names no sha256 of a large file.")
    return large["sha256"]


def _store(hub: httpx.Client, place: str, size: int) -> tuple[dict[str, Any], bytes]:
    """A small file, at most as long as it was listed."""
    content = b""
    with hub.stream("GET", place) as answer:
        answer.raise_for_status()
        for block in answer.iter_bytes():
            content += block
            if len(content) > size:
                raise CheckpointRefused(
                    "damaged_listing", f"The hub's {place.rsplit('/', 1)[-1]} is longer than listed."
                )
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return put_file(Path(file.name)).as_dict(), content


@contextmanager
def _hub(wanted: Name | None) -> Iterator[httpx.Client]:
    if not settings.LEPTON_HUB_URL:
        raise _away(_("This site uses no hub."))
    token = settings.LEPTON_HUB_TOKEN
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    base = f"{settings.LEPTON_HUB_URL.rstrip('/')}/"
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT, follow_redirects=True) as hub:
            yield hub
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (401, 403, 404):
            message = _(
                "%(hub)s has no checkpoint %(name)s, or shows it only to those who may see it (LEPTON_HUB_TOKEN)."
            )
            words = {"hub": settings.LEPTON_HUB_URL, "name": wanted or error.request.url.path}
            raise NotFound(message % words, code="unknown_checkpoint", field="start_from") from error
        raise _away(_("The hub answered %(status)d.") % {"status": error.response.status_code}) from error
    except (httpx.HTTPError, ValueError, KeyError) as error:
        if isinstance(error, CheckpointRefused):
            raise
        raise _away(_("%(hub)s cannot be reached from here.") % {"hub": settings.LEPTON_HUB_URL}) from error


def _away(reason: str) -> Unavailable:
    hint = _("Copy the checkpoint's files into a folder of their own below %(root)s, and choose that folder.")
    return Unavailable(
        f"{reason} {hint % {'root': settings.LEPTON_CHECKPOINTS}}",
        code="hub_away", field="start_from", retry_after_seconds=RETRY_SECONDS,
    )  # fmt: skip
