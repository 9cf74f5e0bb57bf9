"""An administrator adds a machine by the copied command, empties one while a training runs on it, and opens it again.

The second machine is a second agent on this host, in a data folder of its own, started by the very command of the page.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

import leptonai
from tests.browser.visiting import Person
from tests.stack import ROOT, Stack, wait_until

NAME = "second"
JOIN_SECONDS, MOVE_SECONDS, STOP_SECONDS = 120, 60, 60  # on a machine that is busy with other tests
LONG = {"epochs": 30, "batch_size": 16, "image_size": 16}


class Machine:
    """Where the copied command runs: a person's own account on the machine, with `home` as its home folder."""

    def __init__(self, home: Path, stack: Stack) -> None:
        self.data = home / f".lepton-{NAME}"
        self.log_path = home / "agent.log"
        self.env = {name: value for name, value in stack.env.items() if name not in ("LEPTON_HOME", "LEPTON_BASE_URL")}
        self.env["HOME"] = str(home)
        self.process: subprocess.Popen | None = None

    def run(self, command: str) -> None:
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", command.replace(".venv/bin/python", sys.executable)],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """All that runs in its data folder."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("LEPTON_HOME") == str(self.data)
                found += [process] if is_ours and process.status() != psutil.STATUS_ZOMBIE else []
            except (psutil.Error, OSError):
                continue
        return found

    def stop(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            left = self.processes()
            for process in left:
                process.kill()
        assert not left, self.log()


@pytest.fixture
def machine(tmp_path: Path, live_stack: Stack, sdk: leptonai.Client) -> Iterator[Machine]:
    """Afterwards the site has its one machine again, open, and what was deployed is ready."""
    made = Machine(tmp_path.resolve(), live_stack)
    yield made
    sdk.nodes.open("local")
    made.stop()
    if sdk.nodes.list(name=NAME):
        sdk.nodes.remove(NAME)
    for deployment in sdk.deployments.list():
        sdk.deployments.wait(deployment, timeout=60)


@pytest.fixture
def administrator(page, live_stack: Stack) -> Person:
    person = Person(page(1440, base_url=live_stack.base_url), 1440)
    person.sign_in(live_stack)
    return person


def add_machine(person: Person, machine: Machine) -> None:
    """The page gives the command, and says when the machine has come."""
    person.page.goto("/pool/nodes/")
    person.follow("Add a machine")
    person.page.get_by_label("Name of the machine").fill(NAME)
    person.press("Make the command")
    command = person.page.locator("#join-command").inner_text()
    person.see("nodes-1-command")
    machine.run(command)
    joined = person.page.locator("#joining", has_text="has joined")
    wait_until(lambda: joined.is_visible() or machine.has_ended(), seconds=JOIN_SECONDS, what="the machine has joined")
    assert joined.is_visible(), machine.log()
    person.see("nodes-2-joined")


def where(sdk: leptonai.Client, job: leptonai.Record) -> str | None:
    """The machine whose device the job holds."""
    return next((node.name for node in sdk.nodes.list() if job.id in [device.job for device in node.devices]), None)


def badge(page: Page, state: str):
    return page.locator(f".page-badge [data-status={state}]")


def test_a_training_goes_on_elsewhere_when_its_machine_is_emptied(
    administrator, machine, live_stack, sdk, dataset, page
):
    person = administrator
    add_machine(person, machine)
    job = sdk.jobs.train(dataset["id"], model_name="traveller", preset="fast", hyperparameters=LONG)
    wait_until(lambda: where(sdk, job), seconds=60, what="the training holds a device")
    here = where(sdk, job)
    there = NAME if here == "local" else "local"

    person.page.goto(f"/pool/nodes/{here}/")  # before it has come far: a quick training does not wait for a page
    expect(person.page.get_by_role("link", name=re.compile("traveller")).first).to_be_visible()
    wait_until(lambda: sdk.jobs.get(job).progress.get("epoch", 0) >= 3, seconds=60, what="the third epoch")
    person.press("Drain")
    person.see("nodes-3-question")
    person.press("Drain it")
    expect(badge(person.page, "drained")).to_be_visible(timeout=MOVE_SECONDS * 1000)
    person.see("nodes-4-drained")

    person.page.goto(f"/jobs/{job.id}/")
    expect(person.page.locator("#job-node")).to_have_text(there, timeout=MOVE_SECONDS * 1000)
    person.await_status("succeeded", 90)
    assert sdk.jobs.get(job).attempt == 2
    steps = [point.step for point in sdk.jobs.metrics(job)["results"] if (point.split, point.name) == ("val", "loss")]
    assert steps == sorted(set(steps)), "no epoch is shown twice, so it went on from its checkpoint"

    phone = Person(page(390, base_url=live_stack.base_url, storage_state=person.page.context.storage_state()), 390)
    for path, name in (("/pool/nodes/", "nodes-5-list"), (f"/pool/nodes/{here}/", "nodes-5-node"), ("/pool/", "pool")):
        phone.page.goto(path)
        phone.see(name)
    person.page.goto(f"/pool/nodes/{here}/")
    person.press("Open again")
    expect(badge(person.page, "online")).to_be_visible()
    expect(person.page.get_by_text("Opened again").first).to_be_visible()
    person.see("nodes-6-open")
