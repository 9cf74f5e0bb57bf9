"""One training on two machines, each with a data folder and an address of its own: it trains one model, and what
happens to one machine happens to all of the attempt. The long fault suite strikes gangs in more ways."""

import signal

import pytest

from tests.faults.site import JOB_TOKEN, RUNNER_TOKEN, Machine, Site, Training, send
from tests.stack import wait_until

pytestmark = pytest.mark.xdist_group("faults")

LEASES = """
    SELECT m.attempt, m.rank, n.name, m.ending, extract(epoch FROM m.claimed_at)::float AS began,
           extract(epoch FROM m.ended_at)::float AS ended
    FROM jobs_member m JOIN resources_node n ON n.id = m.node_id WHERE m.job_id = %s ORDER BY m.attempt, m.rank
"""


def train(site: Site, name: str, strategy: str = "ddp") -> Training:
    """A training that is under way on both machines."""
    training = site.train(name, devices=2, strategy=strategy, epochs=6)
    training.await_step(30)
    return training


def leases(site: Site, training: Training) -> list[dict]:
    return site.rows(LEASES, training.pk)


def assert_no_two_attempts_overlapped(site: Site, training: Training) -> None:
    rows = leases(site, training)
    assert all(row["ended"] for row in rows), rows
    for before, after in zip(rows, rows[2:], strict=False):
        if after["attempt"] > before["attempt"]:
            assert before["ended"] <= after["began"], rows


def assert_nothing_left(site: Site, training: Training) -> None:
    def left() -> list:
        return [
            found
            for machine in site.machines
            for found in (
                *machine.processes(JOB_TOKEN),
                *machine.processes(RUNNER_TOKEN),
                *machine.folders(training.pk),
            )
        ]

    wait_until(lambda: not left(), seconds=20, what=f"nothing of job {training.pk} is left")


def other_machine(site: Site, training: Training) -> Machine:
    """The one that does not lead."""
    return next(machine for machine in site.machines if machine.name != training.row()["machine"])


def test_two_machines_train_one_model(site):
    training = train(site, "together")
    shown = site.sdk.jobs.get(training.pk)
    assert [(member.rank, member.status) for member in shown.members] == [(0, "running"), (1, "running")]
    assert {member.node for member in shown.members} == {"one", "two"}
    assert training.await_end()["status"] == "succeeded", training.story()
    job = site.sdk.jobs.get(training.pk)
    assert job.attempt == 1 and job.model.name == "together"
    assert job.result.metrics.test.accuracy > 0.8
    assert [member.status for member in job.members] == ["succeeded", "succeeded"]
    said = {machine.name: machine.log() for machine in site.machines}
    for member in job.members:
        assert f"is node {member.rank} of 2, 1 processes at" in said[member.node]
    assert_nothing_left(site, training)


def kill_its_rank(machine: Machine) -> None:
    """The process that trains, and not the torchrun above it."""
    ranks = [process for process in machine.processes(JOB_TOKEN) if "RANK" in process.environ()]
    assert ranks
    send(ranks, signal.SIGKILL)


def test_what_one_machine_loses_all_do_again_from_the_newest_checkpoint(site):
    training = train(site, "again")
    wait_until(lambda: site.rows("SELECT 1 FROM jobs_checkpoint WHERE job_id = %s", training.pk), seconds=30,
               what="a checkpoint is in storage")  # fmt: skip
    kill_its_rank(other_machine(site, training))
    assert training.await_end()["status"] == "succeeded", training.story()
    job = site.sdk.jobs.get(training.pk)
    assert job.attempt == 2, training.story()
    steps = [
        point.step for point in site.sdk.jobs.metrics(job)["results"] if (point.split, point.name) == ("val", "loss")
    ]
    assert steps == sorted(set(steps)), "no epoch is shown twice"
    resumed = [line["message"] for line in site.rows("SELECT * FROM jobs_joblog WHERE job_id = %s", training.pk)]
    assert any(message.startswith("Going on from step") for message in resumed), resumed
    assert_no_two_attempts_overlapped(site, training)
    assert_nothing_left(site, training)


def test_a_cancelled_gang_ends_within_seconds_everywhere(site):
    training = train(site, "cancelled")
    site.sdk.jobs.cancel(training.pk)
    assert training.await_end()["status"] == "cancelled"
    assert {row["ending"] for row in leases(site, training)} == {"stopped"}, training.story()
    assert_nothing_left(site, training)


def test_a_drained_machine_sends_the_whole_gang_back_without_a_strike(site):
    training = train(site, "drained", strategy="local_sgd")
    machine = other_machine(site, training)
    site.sdk.nodes.drain(machine.name)
    training.await_condition(lambda row: row["status"] == "queued", seconds=40, what="the gang has left")
    assert {row["ending"] for row in leases(site, training)} == {"stopped"}, training.story()
    kept = site.rows("SELECT * FROM jobs_checkpoint WHERE job_id = %s ORDER BY id DESC", training.pk)
    assert kept and kept[0]["missing"] == [], "the checkpoint with which it left has the parts of both"
    site.sdk.nodes.open(machine.name)
    row = training.await_end()
    assert (row["status"], row["attempt"], row["strikes"]) == ("succeeded", 2, 0), training.story()
    assert_no_two_attempts_overlapped(site, training)
