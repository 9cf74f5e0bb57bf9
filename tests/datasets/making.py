"""Uploads and data sets of the tests: made as a program makes them, checked by the real checking program."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from django.http import HttpResponse
from django.test import Client

from apps.core.storage import fetch, put_file
from apps.datasets.models import DatasetVersion, Upload
from apps.datasets.services import apply_report, create_dataset, receive_file, reject_version
from tests.people import Person
from tests.stack import ROOT
from workers.contract import EXIT_FAILED, DataFile, PrepareSpec, read_events, write_spec


class Uploader:
    """Speaks to the upload endpoints as a program does."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def create(self, name: str, size: int, **more: str) -> HttpResponse:
        body = {"name": name, "size_bytes": size, **more}
        return self.client.post("/api/v1/uploads/", body, content_type="application/json")

    def put(self, upload: dict, offset: int | str, body: bytes, sha256: str = "") -> HttpResponse:
        headers = {"X-Chunk-SHA256": sha256} if sha256 else {}
        path = f"/api/v1/uploads/{upload['id']}/?offset={offset}"
        return self.client.put(path, body, content_type="application/octet-stream", headers=headers)

    def complete(self, upload: dict, sha256: str = "") -> HttpResponse:
        path = f"/api/v1/uploads/{upload['id']}/complete/"
        return self.client.post(path, {"sha256": sha256}, content_type="application/json")

    def get(self, upload: dict) -> HttpResponse:
        return self.client.get(f"/api/v1/uploads/{upload['id']}/")

    def send(self, name: str, content: bytes, chunk: int = 1000) -> dict:
        """The complete upload of a file."""
        upload = self.create(name, len(content)).json()
        for offset in range(0, len(content), chunk):
            self.put(upload, offset, content[offset : offset + chunk])
        done = self.complete(upload, hashlib.sha256(content).hexdigest())
        assert done.status_code == 200, done.content
        return done.json()


def run_check(version: DatasetVersion, folder: Path) -> DatasetVersion:
    """Check the version by the real program and note what it said, as the runner does."""
    folder.mkdir()
    files = tuple(
        DataFile(file.name, str(fetch(file.sha256, folder / "in" / f"{file.pk}")), file.split or None)
        for file in version.files.all()
    )
    first = version.first
    index = next(name for name in ("index.jsonl", "index.json") if name in first.outputs) if first != version else ""
    first_index = str(fetch(first.outputs[index]["sha256"], folder / "in" / index)) if index else ""
    spec = PrepareSpec(
        str(folder), files, target=version.target or None, recipe=version.recipe, first_index=first_index
    )
    write_spec(spec, folder / "spec.json")
    done = subprocess.run([sys.executable, "-m", "workers.preprocessing", str(folder / "spec.json")], cwd=ROOT)
    if done.returncode == EXIT_FAILED:
        failure = [event for event, _end in read_events(folder / "events.jsonl") if event["type"] == "failure"][-1]
        return reject_version(version=version, **{key: failure[key] for key in ("code", "message", "hint")})
    assert done.returncode == 0
    output = folder / "output"
    stored = {str(path.relative_to(output)): put_file(path).as_dict() for path in output.rglob("*") if path.is_file()}
    return apply_report(version=version, report=json.loads((output / "report.json").read_text()), outputs=stored)


def make_version(person: Person, name: str, files: dict[str, bytes], **more: str) -> DatasetVersion:
    """Version 1 of a new data set, still to be checked."""
    sources: list[tuple[Upload, str]] = [
        (
            receive_file(team=person.team, user=person.user, name=file, size_bytes=len(body), blocks=[body]),
            "",
        )
        for file, body in files.items()
    ]
    return create_dataset(team=person.team, user=person.user, name=name, uploads=sources, **more)


TABLE = b"age,colour,bought\n" + b"".join(
    f"{20 + n % 50},{'red' if n % 3 else 'blue'},{'yes' if n % 2 else 'no'}\n".encode() for n in range(60)
)
RAGGED = TABLE + b"1,2,3,4\n" + b"30,red,yes\n" + b"only one\n"
