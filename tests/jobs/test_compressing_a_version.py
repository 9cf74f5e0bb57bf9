"""A version is compressed: every smaller model is kept with its figures, the best becomes a version by itself, and
anybody of the team can keep another one."""

import pytest

from apps.accounts.models import AuditEvent
from apps.core import storage
from apps.core.errors import Conflict, QuotaExceeded, Unprocessable
from apps.jobs import attempts
from apps.jobs.candidates import keep_candidate, record_candidate
from apps.jobs.compressing import submit_compression
from apps.jobs.models import Candidate, Job
from apps.jobs.services import cancel_job
from apps.jobs.sweeping import referenced_blobs
from apps.registry.models import ModelVersion
from apps.resources.models import Quota
from apps.resources.nodes import default_pool
from apps.resources.quotas import set_quota
from apps.resources.storage_use import storage_bytes
from apps.resources.wanted import wanted_of
from tests.jobs.compressions import FAILED, HALF, INT8, ORIGINAL, SMALL, TINY, compress, end, make_trained, tell
from tests.jobs.making import fail, make_node, run


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def trained(team) -> ModelVersion:
    return make_trained(team)


@pytest.fixture
def job(trained, node, member) -> Job:
    return compress(trained, node, member.user)


def test_it_waits_like_any_job_with_all_its_settings(team, trained, member):
    job = submit_compression(team=team, user=member.user, base_version=trained, settings={"limit_points": 0.5})
    assert (job.kind, job.method, job.name, job.status) == ("compress", "search", "Compress Digits v1", "queued")
    assert job.hyperparameters["limit_points"] == 0.5 and job.hyperparameters["recipes"] == []
    assert job.hyperparameters["trials"] == 12, "what was not said is as usual"
    recipe = submit_compression(team=team, user=member.user, base_version=trained, settings={"recipes": [HALF]})
    assert recipe.method == "recipe"
    assert recipe.hyperparameters["recipes"][0][0] == {"method": "prune_channels", "amount": 0.5, "epochs": 8}
    assert AuditEvent.objects.filter(action="job.compress").latest("pk").details["recipes"] == 1


@pytest.mark.parametrize(
    ("settings", "code", "field"),
    [
        ({"limit_points": -1}, "out_of_range", "limit_points"),
        ({"speed": 1}, "unknown_setting", "speed"),
        ({"recipes": [INT8, [{"method": "magic"}]]}, "unknown_method", "recipes.1.0.method"),
        ({"recipes": [[{"method": "prune_channels", "amount": 2}]]}, "out_of_range", "recipes.0.0.amount"),
        ({"recipes": [[*INT8, {"method": "distil"}]]}, "wrong_order", "recipes.0.1"),
        ({"recipes": [[]]}, "empty_recipe", "recipes.0"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(team, trained, settings, code, field):
    with pytest.raises(Unprocessable) as caught:
        submit_compression(team=team, user=None, base_version=trained, settings=settings)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert not Job.objects.exists()


def test_a_compressed_version_or_one_without_its_data_is_refused(team, trained):
    trained.meta = trained.meta | {"compression": {"recipe": INT8}}
    with pytest.raises(Conflict) as caught:
        submit_compression(team=team, user=None, base_version=trained)
    assert caught.value.code == "already_compressed"
    with pytest.raises(Conflict) as caught:
        submit_compression(team=team, user=None, base_version=make_trained(team, name="Birds", dataset_version_id=0))
    assert caught.value.code == "data_gone"


def test_before_anything_is_known_it_is_thought_to_take_no_longer_than_it_may(team, trained):
    job = submit_compression(team=team, user=None, base_version=trained, settings={"seconds": 45})
    estimate = wanted_of(job.allocation).terms.estimate
    assert estimate.high_seconds == 45 and 0 < estimate.low_seconds <= estimate.median_seconds <= 45


def test_candidates_are_kept_as_they_are_measured(job, node, tmp_path):
    rows = tell(job, tmp_path, ORIGINAL, SMALL, TINY, FAILED)
    assert [(row.number, row.verdict, sorted(row.files)) for row in rows] == [
        (0, "within", []), (1, "within", ["meta.json", "model.onnx"]), (2, "over", ["meta.json", "model.onnx"]),
        (3, "failed", []),
    ]  # fmt: skip
    assert rows[2].figures["latency_p50_ms"] == 0.3 and rows[2].notes == ["Fine-tuned for 8 epochs."]
    assert {row.node for row in rows} == {node}
    assert [row.can_be_kept for row in rows] == [False, True, True, False]


def test_figures_that_are_no_numbers_become_null(job, tmp_path):
    wild = SMALL | {"figures": SMALL["figures"] | {"parity": float("nan"), "interval": [float("-inf"), 1.0]}}
    (row,) = tell(job, tmp_path, wild)
    row.refresh_from_db()
    assert row.figures["parity"] is None and row.figures["interval"] == [None, 1.0]


def test_an_attempt_that_was_given_up_writes_nothing_more(job, node, tmp_path):
    attempts.requeue_job(job=job, attempt=1, message="lost", is_strike=True)
    run(job, node)
    assert not record_candidate(job_id=job.pk, attempt=1, event=SMALL, files={})
    assert not Candidate.objects.exists()


def test_what_is_told_again_after_a_restart_is_no_second_candidate(job, node, tmp_path):
    (first,) = tell(job, tmp_path, SMALL)
    kept = keep_candidate(job=job, number=1, user=None)
    attempts.requeue_job(job=job, attempt=1, message="lost", is_strike=True)
    again = run(job, node)
    assert record_candidate(job_id=job.pk, attempt=2, event=SMALL, files=None), "its folder stayed on the old machine"
    row = Candidate.objects.get()
    assert (row.attempt, row.files, row.version) == (2, first.files, kept)
    tell(again, tmp_path, SMALL | {"name": "another"})
    row.refresh_from_db()
    assert row.files != first.files and row.version is None, "what was kept is another model"
    assert ModelVersion.objects.filter(pk=kept.pk).exists()


def test_the_chosen_one_becomes_the_next_version_with_its_recipe_and_figures(job, trained, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL, TINY)
    made = end(job, tmp_path, SMALL).output_version
    assert (made.model, made.number, made.parent) == (trained.model, 2, trained)
    assert made.metrics == {"test": SMALL["figures"]["metrics"]} and made.meta["compression"]["recipe"] == INT8
    assert made.lineage["method"] == "int8"
    compression = made.lineage["compression"]
    assert compression["recipe"] == INT8 and compression["settings"]["limit_points"] == 1.0
    assert (compression["before"]["bytes"], compression["after"]["bytes"]) == (640_000, 180_000)
    assert job.candidates.get(number=1).version == made
    with pytest.raises(Conflict, match="compressed already"):
        submit_compression(team=trained.model.team, user=None, base_version=made)


def test_one_that_was_kept_before_the_end_is_not_made_twice(job, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL)
    kept = keep_candidate(job=job, number=1, user=None)
    assert end(job, tmp_path, SMALL).output_version == kept
    assert ModelVersion.objects.count() == 2


def test_where_nothing_is_better_no_version_is_made(job, tmp_path):
    tell(job, tmp_path, ORIGINAL, TINY)
    ended = end(job, tmp_path, None)
    assert ended.status == "succeeded" and ended.output_version is None
    assert ModelVersion.objects.count() == 1
    assert keep_candidate(job=ended, number=2, user=None).number == 2, "whoever wants it all the same keeps it"


def test_keeping_is_done_once_and_on_record(job, member, trained, tmp_path):
    tell(job, tmp_path, ORIGINAL, TINY)
    made = keep_candidate(job=job, number=2, user=member.user)
    assert keep_candidate(job=job, number=2, user=member.user) == made
    assert (made.number, made.parent, made.lineage["method"]) == (2, trained, TINY["name"])
    assert made.metrics == {"test": TINY["figures"]["metrics"]} and made.meta["compression"]["recipe"] == HALF
    assert sorted(made.artifacts.values_list("name", flat=True)) == ["meta.json", "model.onnx"]
    entry = AuditEvent.objects.get(action="job.keep_candidate")
    assert entry.details == {"candidate": 2, "recipe": TINY["name"], "version": "Digits v2"}
    made.delete()
    assert keep_candidate(job=job, number=2, user=member.user).pk != made.pk, "a version that was deleted is made anew"


def test_a_model_without_a_word_of_its_compression_is_known_as_compressed_all_the_same(job, tmp_path):
    tell(job, tmp_path, SMALL)
    bare = tmp_path / "bare"
    bare.write_text("{}")
    files = {"meta.json": storage.put_file(bare)}
    record_candidate(job_id=job.pk, attempt=1, event=TINY, files=files)
    made = keep_candidate(job=job, number=2, user=None)
    assert made.meta == {"compression": {"recipe": HALF}}


def test_what_cannot_be_kept_says_why(job, tmp_path):
    tell(job, tmp_path, ORIGINAL, FAILED)
    for number, code in ((0, "is_original"), (3, "no_files")):
        with pytest.raises(Conflict) as caught:
            keep_candidate(job=job, number=number, user=None)
        assert caught.value.code == code
    assert "A layer has no weights to share." in caught.value.message


def test_a_file_that_is_gone_from_storage_is_a_sentence(job, tmp_path, settings):
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"
    tell(job, tmp_path, SMALL)
    storage.delete_blob(job.candidates.get().files["meta.json"]["sha256"])
    with pytest.raises(Conflict, match="cannot be read any more"):
        keep_candidate(job=job, number=1, user=None)
    assert ModelVersion.objects.count() == 1


def test_a_team_above_its_storage_keeps_no_more(job, team, administrator, tmp_path):
    tell(job, tmp_path, SMALL)
    set_quota(team=team, pool=default_pool(), resource=Quota.Resource.STORAGE, user=administrator.user, limit=1)
    with pytest.raises(QuotaExceeded):
        keep_candidate(job=job, number=1, user=None)
    assert job.candidates.get().version is None


@pytest.mark.parametrize("end_it", ["cancelled", "failed"])
def test_what_was_measured_before_a_bad_end_can_still_be_kept(job, member, tmp_path, end_it):
    tell(job, tmp_path, ORIGINAL, SMALL)
    if end_it == "failed":
        fail(job)
    else:
        cancel_job(job=job, user=member.user)
        assert attempts.end_cancelled(job=job, attempt=1)
    assert keep_candidate(job=job, number=1, user=member.user).number == 2


def test_one_whose_data_and_original_are_gone_is_kept_all_the_same(job, trained, tmp_path):
    tell(job, tmp_path, ORIGINAL, SMALL)
    end(job, tmp_path, None)
    trained.model.delete()
    job.dataset_version.delete()
    job.refresh_from_db()
    made = keep_candidate(job=job, number=1, user=None)
    assert (made.number, made.parent, made.model.name) == (1, None, "Digits")


def test_their_files_count_while_the_job_is_there(job, team, tmp_path):
    before = storage_bytes(team)
    rows = tell(job, tmp_path, ORIGINAL, SMALL, TINY)
    stored = {file["sha256"]: file["bytes"] for row in rows for file in row.files.values()}
    assert storage_bytes(team) - before == sum(stored.values())
    assert referenced_blobs() >= set(stored)
    job.delete()
    assert storage_bytes(team) == before and not referenced_blobs() & set(stored)


def test_cloning_takes_its_settings_along(member, job):
    body = {"settings": {"limit_points": 2.0}}
    response = member.api.post(f"/api/v1/jobs/{job.pk}/clone/", body, content_type="application/json")
    assert response.status_code == 201, response.content
    again = Job.objects.get(pk=response.json()["id"])
    assert (
        again.hyperparameters == job.hyperparameters | {"limit_points": 2.0} and again.base_version == job.base_version
    )


def test_it_rests_and_goes_on(member, job):
    assert member.api.post(f"/api/v1/jobs/{job.pk}/pause/").json()["pause_requested_at"]
