"""A compression tells of each smaller model it has made; the runner brings it into storage and writes it down."""

from dataclasses import replace
from pathlib import Path

import pytest
from django.db import OperationalError

from apps.jobs.attempts import end_cancelled
from apps.jobs.models import Candidate, Job, Member
from apps.jobs.services import ONE_DEVICE
from tests.jobs.compressions import FAILED, ORIGINAL, SMALL, TINY, compress, make_trained
from tests.jobs.making import make_node, store
from tests.training.disks import files_up_to
from workers import artifacts, fence, keeping
from workers.contract import EVENTS_FILE, EventWriter
from workers.lease import Lease
from workers.runner import Runner


@pytest.fixture
def node(db):
    return make_node()


@pytest.fixture
def job(member, node, settings, tmp_path) -> Job:
    settings.LEPTON_HOME, settings.LEPTON_STORAGE_URL = tmp_path / "home", f"file://{tmp_path}/storage"
    (tmp_path / "storage").mkdir()
    trained = make_trained(member.team)
    data = trained.model.team.datasets.get().versions.get()
    data.outputs = {name: store(tmp_path, name, b"x").as_dict() for name in ("data.zip", "index.jsonl")}
    data.save()
    return compress(trained, node, member.user, settings={"recipes": [SMALL["recipe"]]})


@pytest.fixture
def runner(job: Job, monkeypatch) -> Runner:
    """With a lease that holds, and a work folder."""
    made = Runner(Member.objects.select_related("job__allocation", "job__node", "node").get(job=job))
    made.folder.mkdir(parents=True)
    made.lease = Lease(made.member, made.folder)
    made.lease._move(sent=fence.now())
    monkeypatch.setattr(made.lease, "tolerate", lambda error: None)  # it closes the connection, which is the test's
    return made


def say(runner: Runner, *told: dict, folder: str | None = None) -> None:
    """As the program does: files first, then the event."""
    events = EventWriter(runner.folder / EVENTS_FILE)
    for event in told:
        place = "" if event["verdict"] == "failed" or not event["number"] else f"output/candidates/{event['number']}"
        if place:
            (runner.folder / place).mkdir(parents=True, exist_ok=True)
            (runner.folder / place / "model.onnx").write_bytes(event["name"].encode() * 20_000)
            (runner.folder / place / "meta.json").write_text("{}")
        events.candidate(**(event | {"folder": place if folder is None else folder}))


def test_each_is_stored_and_written_down_once(runner, job):
    say(runner, ORIGINAL, SMALL, FAILED)
    runner._apply_events()
    say(runner, TINY)
    runner._apply_events()
    runner._apply_events()
    rows = list(job.candidates.order_by("number"))
    assert [(row.number, sorted(row.files), row.node) for row in rows] == [
        (0, [], job.node), (1, ["meta.json", "model.onnx"], job.node), (2, ["meta.json", "model.onnx"], job.node),
        (3, [], job.node),
    ]  # fmt: skip
    assert rows[1].figures == SMALL["figures"] and not runner.candidates.unstored


def test_they_are_no_outputs_of_the_job_as_well(runner):
    say(runner, SMALL)
    (runner.folder / "output" / "result.json").write_text("{}")
    assert list(artifacts.store_outputs(runner.folder)) == ["result.json"]


@pytest.mark.parametrize("folder", ["output/model", "checkpoints/1", "output/candidates/../..", "/etc"])
def test_a_folder_elsewhere_is_not_read(runner, folder):
    say(runner, SMALL, folder=folder)
    with pytest.raises(ValueError, match="is not below output/candidates"):
        runner._apply_events()
    assert not Candidate.objects.exists()


def test_one_that_an_earlier_attempt_made_keeps_its_files(runner, job):
    say(runner, SMALL)
    runner._apply_events()
    files = job.candidates.get().files
    say(runner, SMALL | {"number": 1, "verdict": "within"}, folder="output/candidates/9")
    runner._apply_events()
    assert job.candidates.get().files == files


def test_a_database_that_is_away_loses_and_doubles_none(runner, job, monkeypatch):
    record, calls = keeping.record_candidate, []

    def once_away(**values):
        calls.append(values["event"]["number"])
        if len(calls) == 2:
            raise OperationalError("server closed the connection unexpectedly")
        return record(**values)

    monkeypatch.setattr(keeping, "record_candidate", once_away)
    say(runner, ORIGINAL, SMALL, TINY)
    runner._apply_events()
    assert list(job.candidates.values_list("number", flat=True)) == [0]
    runner._drain()
    assert calls == [0, 1, 1, 2] and job.candidates.count() == 3


def test_storage_that_is_away_is_waited_for(runner, job, tmp_path):
    (tmp_path / "storage").rename(tmp_path / "unplugged")
    say(runner, SMALL)
    runner._apply_events()
    assert not job.candidates.exists()
    (tmp_path / "unplugged").rename(tmp_path / "storage")
    runner._apply_events()
    assert job.candidates.get().can_be_kept


def test_storage_that_is_full_leaves_the_figures_with_a_word_about_it(runner, job):
    say(runner, SMALL, TINY)
    with files_up_to(100_000):
        runner._apply_events()
    rows = list(job.candidates.order_by("number"))
    assert [row.can_be_kept for row in rows] == [True, False]
    assert "could not be stored" in rows[-1].notes[-1] and rows[-1].figures == TINY["figures"]


def test_the_program_is_given_the_settings_and_goes_on_from_a_checkpoint(job, node, tmp_path):
    spec = artifacts.build_spec(job.members.get(), tmp_path / "work", resume=True)
    assert spec.settings == job.hyperparameters and spec.resume
    assert (spec.device, spec.plan) == ("cpu", {}) and "decoded" in spec.cache_dir
    assert Path(spec.data_path).exists() and Path(spec.model_dir).parent == tmp_path / "work"


def test_several_devices_are_for_its_fine_tuning(member, job, node, tmp_path):
    end_cancelled(job=job, attempt=1)
    two = compress(job.base_version, node, demand=replace(ONE_DEVICE, devices=2))
    spec = artifacts.build_spec(two.members.get(), tmp_path / "work", resume=False)
    assert (spec.plan["strategy"], spec.plan["world_size"]) == ("ddp", 2)
    assert not artifacts.is_spread(two.members.get()), "it starts its processes itself"
