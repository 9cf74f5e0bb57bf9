"""What a team keeps counts once for it, whatever refers to it, and for as long as it was kept."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from apps.accounts.models import Team
from apps.core.errors import QuotaExceeded
from apps.core.storage import Blob
from apps.datasets.models import Upload, VersionFile
from apps.datasets.services import create_upload
from apps.jobs import attempts
from apps.jobs.models import Checkpoint, Job
from apps.jobs.services import submit_prepare
from apps.jobs.sweeping import referenced_blobs
from apps.registry.services import register_version
from apps.resources.models import StoredBytes
from apps.resources.nodes import default_pool
from apps.resources.prices import set_price
from apps.resources.quotas import set_quota
from apps.resources.storage_use import KEPT, measure_storage, storage_bytes, storage_bytes_by_team
from apps.resources.usage import GB, MONTH_SECONDS
from tests.jobs.making import make_node, make_version, run, submit, succeed

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(settings, tmp_path):
    settings.LEPTON_HOME = tmp_path / "home"
    settings.LEPTON_HOME.mkdir()
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"


def blob(letter: str, size: int) -> Blob:
    return Blob(letter * 64, size)


def model(team: Team, *files: Blob, name: str = "m") -> None:
    named = {f"file-{n}": file for n, file in enumerate(files)}
    register_version(
        team=team, user=None, model_name=name, task="image_classification", meta={}, metrics={}, lineage={}, files=named
    )


def keep(team: Team, size: int) -> None:
    """Let the team keep so much and nothing else."""
    Upload.objects.filter(team=team).delete()
    if size:
        Upload.objects.create(team=team, name="a", size_bytes=size, sha256="f" * 64, status=Upload.Status.COMPLETE)


def limit(team: Team, size: int) -> None:
    set_quota(team=team, pool=default_pool(), resource="storage", limit=size, user=None)


def everything(team: Team) -> Job:
    """Something of each kind that refers to stored files."""
    version = make_version(
        team, outputs={"data.zip": blob("a", 100).as_dict(), "thumbs/0.png": blob("b", 20).as_dict()}
    )
    VersionFile.objects.create(version=version, name="raw.zip", sha256="c" * 64, size_bytes=3000)
    Upload.objects.create(team=team, name="raw.zip", sha256="c" * 64, size_bytes=3000, status=Upload.Status.COMPLETE)
    model(team, blob("d", 40_000), blob("a", 100))
    job = submit(team, None, version)
    Job.objects.filter(pk=job.pk).update(outputs={"mistakes/0.png": blob("e", 500_000).as_dict()})
    Checkpoint.objects.create(
        job=job, attempt=1, path="p", step=1, epoch=1, files={"model": blob("9", 6_000_000).as_dict()}
    )
    return job


def test_whatever_refers_to_a_file_it_counts_once_for_a_team(member, stranger):
    everything(member.team)
    assert storage_bytes(member.team) == 6_543_120
    Upload.objects.create(team=member.team, name="on its way", size_bytes=70_000_000, received_bytes=1)
    assert storage_bytes(member.team) == 76_543_120
    model(stranger.team, blob("d", 40_000))
    assert storage_bytes(stranger.team) == 40_000
    assert storage_bytes_by_team() == {member.team.pk: 76_543_120, stranger.team.pk: 40_000}


def test_what_the_sweep_keeps_is_what_is_counted(member):
    """The query names tables of other floors; were one forgotten, this would not hold."""
    everything(member.team)
    with connection.cursor() as cursor:
        cursor.execute(KEPT)
        assert {sha256 for _team, sha256, _size in cursor.fetchall()} == referenced_blobs()


def test_what_does_not_fit_is_refused_before_its_first_byte(member):
    limit(member.team, 1000)
    keep(member.team, 400)
    create_upload(team=member.team, user=member.user, name="fits.csv", size_bytes=600)
    with pytest.raises(QuotaExceeded) as caught:
        create_upload(team=member.team, user=member.user, name="more.csv", size_bytes=1)
    assert caught.value.details == {"asked_bytes": 1, "used_bytes": 1000, "limit_bytes": 1000}
    assert "uses 1.0 kB of its 1.0 kB" in caught.value.message


def test_models_and_checkpoints_count_against_the_limit_of_uploads(member):
    everything(member.team)
    limit(member.team, 6_543_120)
    with pytest.raises(QuotaExceeded):
        create_upload(team=member.team, user=member.user, name="more.csv", size_bytes=1)


def test_a_running_job_keeps_its_result_and_the_next_one_is_refused(member, tmp_path):
    version = make_version(member.team)
    limit(member.team, 10)
    job = run(submit(member.team, member.user, version), make_node())
    event = {"path": "checkpoints/1", "step": 1, "epoch": 1}
    assert attempts.record_checkpoint(job_id=job.pk, attempt=job.attempt, event=event, files={"a": blob("1", 5000)})
    assert succeed(job, tmp_path).status == Job.Status.SUCCEEDED
    assert storage_bytes(member.team) > 5000
    with pytest.raises(QuotaExceeded, match="its limit is 10 B") as caught:
        submit(member.team, member.user, version)
    assert caught.value.details["limit_bytes"] == 10
    assert "of 10 B" in member.page.get("/pool/usage/").content.decode()


def test_the_check_of_an_upload_that_was_let_in_is_not_refused(member):
    keep(member.team, 100)
    limit(member.team, 50)
    assert submit_prepare(version=make_version(member.team, status="checking")).kind == Job.Kind.PREPARE


def test_storage_counts_for_as_long_as_it_was_kept(member):
    set_price(item="storage", amount=Decimal("0.03"), user=None)
    keep(member.team, 30 * GB)
    measure_storage(now=NOON)
    keep(member.team, 60 * GB)
    measure_storage(now=NOON + timedelta(hours=6))
    measure_storage(now=NOON + timedelta(hours=18))
    days = {row.day: row for row in StoredBytes.objects.all()}
    assert days[date(2026, 5, 1)].byte_seconds == (30 * 6 + 60 * 6) * GB * 3600
    assert days[date(2026, 5, 2)].byte_seconds == 60 * 6 * GB * 3600
    gb_months = 60 * 6 * 3600 / MONTH_SECONDS
    assert float(days[date(2026, 5, 2)].cost) == pytest.approx(gb_months * 0.03, abs=1e-6)


def test_measuring_twice_changes_nothing_and_time_does_not_go_back(member):
    keep(member.team, GB)
    for hours in (0, 2, 2, 1):
        measure_storage(now=NOON + timedelta(hours=hours))
    assert [row.byte_seconds for row in StoredBytes.objects.all()] == [2 * 3600 * GB]


def test_while_the_site_was_off_the_data_was_kept_all_the_same(member):
    keep(member.team, GB)
    measure_storage(now=NOON)
    measure_storage(now=NOON + timedelta(days=3))
    assert sum(row.byte_seconds for row in StoredBytes.objects.all()) == 3 * 86400 * GB
    assert StoredBytes.objects.count() == 4


def test_a_team_that_keeps_nothing_has_no_rows(member, stranger):
    keep(member.team, GB)
    measure_storage(now=NOON)
    keep(member.team, 0)
    for days in (1, 2, 3):
        measure_storage(now=NOON + timedelta(days=days))
    assert {(row.team_id, row.day.day) for row in StoredBytes.objects.all()} == {
        (member.team.pk, 1),
        (member.team.pk, 2),
    }


def test_a_small_thing_kept_long_costs_what_it_should(member):
    """Measured a quarter of an hour at a time it would cost less than can be written down."""
    set_price(item="storage", amount=Decimal("0.02"), user=None)
    keep(member.team, GB // 100)
    begin = datetime(2026, 5, 1, tzinfo=UTC)
    for quarter in range(0, 24 * 4):
        measure_storage(now=begin + timedelta(minutes=15 * quarter))
    assert float(StoredBytes.objects.get().cost) == pytest.approx(0.01 / 30 * 0.02 * 95 / 96, abs=1e-6)


def test_what_was_kept_since_the_last_measurement_shows_already(member):
    keep(member.team, 10 * GB)
    measure_storage(now=timezone.now() - timedelta(hours=1))
    total = member.api.get("/api/v1/usage/?period=7d").json()["total"]
    assert total["storage_gb_months"] == pytest.approx(10 / 720, rel=0.01)
