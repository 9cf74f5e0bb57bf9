"""Files that nothing refers to are taken away, and never one that is in use or has just been stored."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apps.accounts.models import Team
from apps.core import storage
from apps.jobs import attempts, sweeping
from apps.jobs.models import Checkpoint
from apps.jobs.sweeping import referenced_blobs, sweep_blobs
from apps.registry.models import Artifact
from apps.registry.services import register_version
from tests.jobs.making import make_node, run, submit

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)


@pytest.fixture
def stored(settings, tmp_path):
    """Store some text in a storage of this test; returns the blob, last written `age` ago."""
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"

    def store(text: str, age: timedelta = timedelta(0)) -> storage.Blob:
        path = tmp_path / "file"
        path.write_text(text)
        blob = storage.put_file(path)
        written = (NOW - age).timestamp()
        os.utime(blob_path(tmp_path, blob), (written, written))
        return blob

    return store


def blob_path(folder: Path, blob: storage.Blob) -> Path:
    return folder / "storage" / "blobs" / blob.sha256[:2] / blob.sha256


@pytest.fixture
def team() -> Team:
    return Team.objects.create(name="Birds", slug="birds")


def register(team: Team, blob: storage.Blob) -> None:
    register_version(
        team=team,
        user=None,
        model_name="m",
        task="image_classification",
        meta={},
        metrics={},
        lineage={},
        files={"model.onnx": blob},
    )


def test_an_old_file_that_nothing_refers_to_is_taken_away(stored, tmp_path):
    blob = stored("nobody wants me", timedelta(days=3))
    assert sweep_blobs(now=NOW) == 1
    assert not blob_path(tmp_path, blob).exists()


def test_a_file_in_use_stays_and_goes_with_its_last_use(stored, team, tmp_path):
    blob = stored("weights", timedelta(days=3))
    register(team, blob)
    assert sweep_blobs(now=NOW) == 0
    Artifact.objects.all().delete()
    assert sweep_blobs(now=NOW) == 1


def test_a_young_file_stays_because_its_row_may_be_on_its_way(stored):
    stored("just arrived", timedelta(hours=20))
    assert sweep_blobs(now=NOW) == 0


def test_a_file_that_is_stored_again_while_the_sweep_looks_stays(stored, tmp_path, monkeypatch):
    blob = stored("wanted again", timedelta(days=3))

    def stored_again() -> set[str]:
        stored("wanted again")  # its row is not committed yet
        return set()

    monkeypatch.setattr(sweeping, "referenced_blobs", stored_again)
    assert sweep_blobs(now=NOW) == 0
    assert blob_path(tmp_path, blob).exists()


def test_storing_an_old_file_again_makes_it_young(stored, tmp_path):
    blob = stored("twice", timedelta(days=3))
    (tmp_path / "file").write_text("twice")
    assert storage.put_file(tmp_path / "file") == blob
    assert sweep_blobs(now=NOW) == 0


def test_a_job_keeps_its_two_newest_checkpoints(stored, team):
    job = run(submit(team), make_node())
    for step in range(4):
        event = {"path": f"checkpoints/{step}", "step": step, "epoch": step}
        blob = stored(f"state {step}", timedelta(days=3))
        attempts.record_checkpoint(job_id=job.pk, attempt=1, event=event, files={"model": blob})
    assert list(Checkpoint.objects.values_list("step", flat=True)) == [2, 3]
    assert len(referenced_blobs()) == 2
    assert sweep_blobs(now=NOW) == 2
