"""A training begins in an interpreter that waited for it, and nothing else about it is different: not what it learns,
and not what becomes of it when somebody is killed."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from django.db import connection

from apps.accounts.models import Team
from apps.datasets.models import DatasetVersion
from apps.jobs.models import Job
from apps.jobs.services import cancel_job
from apps.resources.models import Node
from apps.resources.nodes import default_pool
from apps.resources.planning import schedule_pool
from tests.jobs.making import make_node, make_version, store, submit
from tests.site_helpers import digits, write_zip
from tests.stack import ROOT, wait_until
from workers import spares
from workers.agent import recover_orphans, start_granted
from workers.artifacts import SECRETS, job_folder
from workers.fence import FenceWriter
from workers.launcher import end_tree, find_by_token, log_tail
from workers.spares import Spares
from workers.tokens import program_token, runner_prefix, runner_token, site_prefix, spare_prefix
from workers.training.image_data import ImageRow
from workers.waiting import Work

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = {"epochs": 2, "batch_size": 16, "image_size": 16}
LONG = {**QUICK, "epochs": 2000}
LOAD_SECONDS = 180  # on a machine that is busy with other tests
AGENT = """
import sys, time, django
django.setup()
from apps.resources.models import Node
from workers.spares import Spares
spares, node = Spares(sys.argv[1], rest_seconds=0), Node.objects.get(name=sys.argv[1])
while True:
    spares.keep(node)
    time.sleep(0.1)
"""


@pytest.fixture
def _same_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test starts works on the test's database."""
    server = os.environ["DATABASE_URL"].rpartition("/")[0]
    monkeypatch.setenv("DATABASE_URL", f"{server}/{connection.settings_dict['NAME']}")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "lepton_site.settings")


@pytest.fixture
def node(_same_database: None) -> Iterator[Node]:
    made = make_node("warm", devices=1)
    yield made
    for prefix in (spare_prefix(made.name), runner_prefix(made.name), f"{site_prefix()}/job/"):
        assert end_tree(prefix, grace_seconds=0)


@pytest.fixture
def keeper(node: Node) -> Iterator[Spares]:
    keeper = Spares(node.name, rest_seconds=0, look_seconds=0)
    yield keeper
    keeper.drop()


@pytest.fixture
def warm(keeper: Spares, node: Node) -> Spares:
    keeper.keep(node)
    wait_until(keeper.is_ready, seconds=LOAD_SECONDS, what="a spare has loaded everything")
    return keeper


@pytest.fixture
def version(tmp_path: Path) -> DatasetVersion:
    images = digits("01", 30)
    rows = [
        ImageRow(name, name.split("/")[1], ("train", "train", "val", "test")[number % 4], 8, 8, name)
        for number, name in enumerate(images)
    ]
    outputs = {
        "data.zip": store(tmp_path, "data.zip", write_zip(tmp_path / "images.zip", images).read_bytes()),
        "index.jsonl": store(tmp_path, "index.jsonl", "\n".join(map(row_as_line, rows)).encode()),
    }
    team = Team.objects.create(name="Birds", slug="birds")
    return make_version(team, outputs={name: blob.as_dict() for name, blob in outputs.items()})


def row_as_line(row: ImageRow) -> str:
    return json.dumps(dataclasses.asdict(row))


def start(version: DatasetVersion, node: Node, keeper: Spares, hyperparameters: dict) -> Job:
    """Submit, plan and start a training, as site and agent do."""
    make_node(node.name, devices=1)  # it beats
    job = submit(version.dataset.team, version=version, hyperparameters=hyperparameters)
    schedule_pool(default_pool())
    start_granted(node, keeper)
    job.refresh_from_db()
    assert job.status == Job.Status.STARTING
    return job


def program_of(job: Job) -> list[psutil.Process]:
    return find_by_token(program_token(job.node.name, job.pk, job.attempt))


def programs_of(keeper: Spares) -> list[psutil.Process]:
    """Those that wait, below the runner that waits."""
    return [process for process in find_by_token(keeper.token) if "workers.waiting" in process.cmdline()]


def has_begun(job: Job) -> bool:
    job.refresh_from_db()
    return job.first_step_at is not None


def await_status(job: Job, status: str) -> Job:
    def has_it() -> bool:
        job.refresh_from_db()
        return job.status == status

    wait_until(has_it, seconds=LOAD_SECONDS, what=f"the job is {status}; its failure: {job.failure}")
    return job


def is_gone(token: str) -> bool:
    return find_by_token(token) == []


def test_it_learns_what_a_fresh_process_learns_and_sees_no_secret(version, node, warm):
    (waiting,) = programs_of(warm)
    assert SECRETS.isdisjoint(waiting.environ())
    by_spare = start(version, node, warm, QUICK)
    wait_until(lambda: program_of(by_spare), seconds=LOAD_SECONDS, what="its program works")
    assert program_of(by_spare) == [waiting]
    await_status(by_spare, Job.Status.SUCCEEDED)
    fresh = await_status(start(version, node, warm, QUICK), Job.Status.SUCCEEDED)
    assert warm.spare is None, "the second had no spare"
    weights = [job.outputs["model/model.safetensors"]["sha256"] for job in (by_spare, fresh)]
    assert weights[0] == weights[1]


def test_a_cancelled_training_ends_with_its_tree(version, node, warm):
    (waiting,) = programs_of(warm)
    job = start(version, node, warm, LONG)
    wait_until(lambda: has_begun(job), seconds=LOAD_SECONDS, what="the first step")
    assert program_of(job) == [waiting]
    cancel_job(job=job, user=None)
    await_status(job, Job.Status.CANCELLED)
    wait_until(lambda: is_gone(runner_prefix(node.name)), seconds=20, what="the runner has left")
    assert program_of(job) == []


def test_a_runner_that_is_killed_takes_its_program_along_and_the_job_goes_on(version, node, warm):
    job = start(version, node, warm, LONG)
    wait_until(lambda: has_begun(job), seconds=LOAD_SECONDS, what="the first step")
    (runner,) = find_by_token(runner_token(node.name, job.pk, 1))
    (program,) = program_of(job)
    runner.kill()
    recover_orphans(node)
    assert is_gone(program_token(node.name, job.pk, 1))
    make_node(node.name, devices=1)
    schedule_pool(default_pool())
    start_granted(node, warm)
    await_status(job, Job.Status.RUNNING)
    assert job.attempt == 2
    assert [process.pid for process in program_of(job)] != [program.pid]


def test_it_heeds_the_fence_of_the_work_it_got(version, node, warm):
    job = start(version, node, warm, LONG)
    wait_until(lambda: has_begun(job), seconds=LOAD_SECONDS, what="the first step")
    (program,) = program_of(job)
    (runner,) = find_by_token(runner_token(node.name, job.pk, 1))
    runner.suspend()  # or it would move the fence on
    FenceWriter(job_folder(job.members.get()) / "fence")  # one that has passed
    wait_until(lambda: program.status() == psutil.STATUS_ZOMBIE, seconds=20, what="the program leaves")


def test_a_spare_whose_program_is_killed_is_replaced(node, keeper):
    keeper.keep(node)
    first = keeper.spare
    wait_until(lambda: programs_of(keeper), seconds=LOAD_SECONDS, what="its program has started")
    programs_of(keeper)[0].kill()
    wait_until(lambda: first.process.poll() is not None, seconds=LOAD_SECONDS, what="the runner leaves too")
    keeper.keep(node)
    assert keeper.spare is not None
    assert keeper.spare.process.pid != first.process.pid


@pytest.mark.parametrize(
    ("name", "value", "is_replaced"),
    [("code_on_disk", lambda: ["new"], True), ("NEEDED_BYTES", 2**60, False)],
    ids=["the code has changed", "memory is short"],
)
def test_a_spare_is_given_up_when(node, keeper, monkeypatch, name, value, is_replaced):
    keeper.keep(node)
    old, token = keeper.spare, keeper.token
    monkeypatch.setattr(spares, name, value)
    if not is_replaced:
        monkeypatch.setattr(spares, "ROOM_BYTES", value)
    keeper.keep(node)
    assert is_gone(token)
    assert old.process.poll() is not None
    assert (keeper.spare is not None) == is_replaced


def test_none_is_kept_where_the_setting_says_so(node, keeper, settings):
    settings.LEPTON_SPARES = False
    keeper.keep(node)
    assert keeper.spare is None


def test_an_agent_that_is_killed_leaves_no_spare_behind(node):
    agent = subprocess.Popen([sys.executable, "-c", AGENT, node.name], cwd=ROOT)
    folder = Path(settings.LEPTON_HOME) / "nodes" / node.name / "spares"
    wait_until(lambda: len(list(folder.glob("*/*.ready"))) == 2, seconds=LOAD_SECONDS, what="runner and program wait")
    assert len(find_by_token(spare_prefix(node.name))) == 2
    agent.kill()
    agent.wait()
    wait_until(lambda: is_gone(spare_prefix(node.name)), seconds=20, what="both have left")


# The hand-over, step by step


SCRIPT = """
import os, sys
from workers.waiting import await_work
work = await_work()
print("got", work, os.environ.get("ADDED"), sys.stdin.read() == "", flush=True)
"""


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[spares.Spare]:
    """A small process that waits."""
    token = f"test-{tmp_path.name}/"
    spare = spares._start([sys.executable, "-c", SCRIPT], tmp_path / "work", token=f"{token}waiting")
    wait_until(spare.is_ready, seconds=20, what="it waits")
    yield spare
    assert end_tree(token, grace_seconds=0)


def test_it_is_found_by_its_work_from_before_it_has_it(waiting, tmp_path):
    """The agent may be killed between the two: the claim is there, the process leaves for want of work."""
    spares._write_whole(waiting.claim, f"test-{tmp_path.name}/job")
    assert [p.pid for p in find_by_token(f"test-{tmp_path.name}/job")] == [waiting.process.pid]
    assert is_gone(f"test-{tmp_path.name}/waiting")
    waiting.process.stdin.close()
    assert waiting.process.wait(20) == 0


def test_it_gets_arguments_log_and_environment_with_its_work(waiting, tmp_path):
    log = tmp_path / "logs" / "job.log"
    assert waiting.hand_over(Work(["a", "b"], f"test-{tmp_path.name}/job", str(log), {"ADDED": "later"}))
    assert waiting.process.wait(20) == 0
    assert log_tail(log) == "got ['a', 'b'] later True"
    assert not waiting.is_ready()


def test_one_that_has_died_takes_no_work(waiting, tmp_path):
    waiting.process.kill()
    wait_until(lambda: not psutil.pid_exists(waiting.process.pid) or waiting.process.poll(), seconds=20, what="it died")
    assert not waiting.hand_over(Work([], "test/job", str(tmp_path / "log")))
    assert not waiting.claim.exists()
