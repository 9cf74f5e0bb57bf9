"""How much of a figure is chance: a training is repeated with other seeds, and each version shows the spread."""

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Conflict, QuotaExceeded, Unprocessable
from apps.jobs.compressing import submit_compression
from apps.jobs.models import Job
from apps.jobs.repeating import repeat_training
from apps.jobs.services import cancel_job
from apps.registry.spread import free_seeds, spread_of
from apps.resources.models import Quota
from apps.resources.nodes import default_pool
from tests.jobs.making import make_node, make_version, run, submit, succeed


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def first(member, node, tmp_path) -> Job:
    """Ended, with seed 7 and an accuracy of 0.90."""
    version = make_version(member.team, size_bytes=1000)
    return end(submit(member.team, member.user, version, hyperparameters={"epochs": 3, "seed": 7}), node, tmp_path, 0.9)


def end(job: Job, node, folder, accuracy: float) -> Job:
    made = succeed(run(job, node), folder)
    made.output_version.metrics = {"test": {"accuracy": accuracy}}
    made.output_version.save()
    return made


def page_of(person, job: Job) -> str:
    version = job.output_version
    return person.page.get(reverse("registry:version", args=[version.model_id, version.number])).content.decode()


def post(person, job: Job):
    return person.api.post(f"/api/v1/jobs/{job.pk}/repeat/", {"count": 1}, "application/json")


def seeds_of(jobs) -> list[int]:
    return [job.hyperparameters["seed"] for job in jobs]


def test_one_seed_says_so_and_offers_more(member, viewer, first):
    page = page_of(member, first)
    assert "comes from one seed" in page and "other seeds" in page
    assert 'name="count"' not in page_of(viewer, first)


def test_four_more_trainings_differ_in_the_seed_alone(member, first):
    made = repeat_training(job=first, user=member.user)
    assert seeds_of(made) == [8, 9, 10, 11]
    for job in made:
        assert job.hyperparameters | {"seed": 7} == first.hyperparameters
        assert (job.dataset_version, job.model_name, job.preset) == (
            first.dataset_version, first.model_name, first.preset,
        )  # fmt: skip


def test_a_seed_that_runs_or_has_run_is_not_run_again_but_one_that_was_cancelled_is(member, first):
    made = repeat_training(job=first, user=member.user, count=2)
    cancel_job(job=made[0], user=member.user)
    assert seeds_of(repeat_training(job=made[1], user=member.user, count=2)) == [10, 11]
    assert seeds_of(repeat_training(job=first, user=member.user, count=2)) == [8, 12]


def test_every_version_shows_mean_deviation_and_range(member, first, node, tmp_path):
    for accuracy, job in zip((0.92, 0.94), repeat_training(job=first, user=member.user, count=2), strict=True):
        end(job, node, tmp_path, accuracy)
    spread = spread_of(first.output_version)
    assert (spread.mean.text, spread.low.text, spread.high.text) == ("92.0 %", "90.0 %", "94.0 %")
    assert spread.deviation.value == pytest.approx(0.02)
    assert [run.place for run in spread.runs] == pytest.approx([0.0, 0.5, 1.0])
    page = page_of(member, first)
    assert "92.0 % ± 2.0 %" in page and "seed 9" in page and "changed nothing" not in page
    answered = member.api.get(f"/api/v1/models/{first.output_version.model_id}/versions/2/spread/").json()
    assert (answered["metric"], answered["mean"]) == ("accuracy", pytest.approx(0.92))
    assert [run["seed"] for run in answered["runs"]] == [7, 8, 9]


def test_seeds_that_change_nothing_are_told_so(member, first, node, tmp_path):
    (again,) = repeat_training(job=first, user=member.user, count=1)
    assert "changed nothing" not in page_of(member, first)
    end(again, node, tmp_path, 0.9)
    assert "Other seeds changed nothing in this figure" in page_of(member, first)


def test_other_settings_are_no_repeat(member, first, node, tmp_path):
    other = submit(member.team, member.user, first.dataset_version, hyperparameters={"epochs": 4, "seed": 8})
    end(other, node, tmp_path, 0.5)
    assert len(spread_of(first.output_version).runs) == 1


def test_what_is_no_training_from_the_beginning_is_refused(member, first):
    compression = submit_compression(team=member.team, user=member.user, base_version=first.output_version, settings={})
    Job.objects.filter(pk=first.pk).update(continues=compression)
    for job in (compression, Job.objects.get(pk=first.pk)):
        with pytest.raises(Conflict) as refused:
            repeat_training(job=job, user=member.user)
        assert refused.value.code == "cannot_repeat"


@pytest.mark.parametrize("count", [0, 10])
def test_a_count_out_of_range_is_refused(member, first, count):
    with pytest.raises(Unprocessable, match="1 to 9 times"):
        repeat_training(job=first, user=member.user, count=count)


def test_all_are_queued_or_none(member, first):
    Quota.objects.update_or_create(
        team=member.team, pool=default_pool(), resource=Quota.Resource.JOBS, defaults={"limit": 2}
    )
    before = Job.objects.count()
    with pytest.raises(QuotaExceeded):
        repeat_training(job=first, user=member.user, count=3)
    assert Job.objects.count() == before


def test_the_page_and_the_program_queue_them_and_strangers_do_not(member, viewer, stranger, first):
    for person, status in ((viewer, 403), (stranger, 404)):
        assert (
            person.api.post(f"/api/v1/jobs/{first.pk}/repeat/", {"count": 1}, "application/json").status_code == status
        )
        assert person.page.post(f"/jobs/{first.pk}/repeat/", {"count": "1"}).status_code == status
    answered = post(member, first)
    assert answered.status_code == 201 and [job["hyperparameters"]["seed"] for job in answered.json()] == [8]
    assert member.page.post(f"/jobs/{first.pk}/repeat/", {"count": "2"}).status_code == 302
    assert sorted(seeds_of(Job.objects.all())) == [7, 8, 9, 10]
    assert member.page.post(f"/jobs/{first.pk}/repeat/", {"count": "many"}).status_code == 422


@given(first=st.integers(0, 9), taken=st.sets(st.integers(0, 9), max_size=5), count=st.integers(1, 4))
def test_seeds_are_new_and_within_their_bounds(first, taken, count):
    found = free_seeds(first, taken, count, most=10)
    assert len(set(found)) == count and not set(found) & {first, *taken} and all(0 <= seed <= 10 for seed in found)
