"""A machine is emptied under each kind of work: it leaves without a strike, and goes on once there is room again."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import leptonai
from tests.stack import wait_until

ROWS, COLUMNS = 40_000, 12
CHOICES = {"preset": "accurate", "task": "tabular_regression"}


def write_table(path: Path, seed: int) -> Path:
    """Numbers with a target that is not easy to learn, so that there is time to interrupt."""
    chance = random.Random(seed)
    with open(path, "w") as file:
        file.write(",".join(f"x{n}" for n in range(COLUMNS)) + ",y\n")
        for _row in range(ROWS):
            values = [chance.random() for _ in range(COLUMNS)]
            target = values[0] * values[1] + abs(values[2] - values[3]) + 0.1 * chance.gauss(0, 1)
            file.write(",".join(f"{value:.4f}" for value in (*values, target)) + "\n")
    return path


@pytest.fixture
def machine(sdk: leptonai.Client) -> Iterator[str]:
    """The site's only machine, open before and after."""
    yield "local"
    sdk.nodes.open("local")


def empty(sdk: leptonai.Client, machine: str, job: leptonai.Record) -> None:
    """Empty the machine while the job is at work, and open it once the job has left."""
    sdk.nodes.drain(machine)
    wait_until(lambda: sdk.jobs.get(job).status == "queued", seconds=40, what="the job has left")
    sdk.nodes.open(machine)


def await_running(sdk: leptonai.Client, **filters: str) -> leptonai.Record:
    running = {"status": "running", **filters}
    wait_until(lambda: sdk.jobs.list(**running), seconds=60, what=f"a job of {filters} runs")
    return sdk.jobs.list(**running)[0]


def points(sdk: leptonai.Client, job: leptonai.Record, after: int = 0) -> list[leptonai.Record]:
    return sdk.jobs.metrics(job, after=after)["results"]


def test_a_data_check_begins_again_and_a_table_training_goes_on(sdk, machine, tmp_path):
    table = sdk.datasets.create("Hard numbers", write_table(tmp_path / "hard.csv", seed=1), target="y")
    check = await_running(sdk, kind="prepare")
    empty(sdk, machine, check)
    sdk.datasets.wait(table, timeout=60)
    assert sdk.jobs.get(check).attempt == 2

    job = sdk.jobs.train(table.id, model_name="hard", **CHOICES)
    wait_until(lambda: points(sdk, job) and points(sdk, job)[-1].step > 2, seconds=60, what="three steps are done")
    empty(sdk, machine, job)
    seen = points(sdk, job)[-1]
    wait_until(lambda: points(sdk, job, after=seen.id), seconds=60, what="it goes on")
    assert points(sdk, job, after=seen.id)[0].step > 1, "it went on from its checkpoint"
    assert sdk.jobs.cancel(job).attempt == 2
    wait_until(lambda: sdk.jobs.get(job).status == "cancelled", seconds=40, what="it is cancelled")


def test_a_compression_goes_on(sdk, machine, trained):
    recipes = [[{"method": "quantise"}], [{"method": "prune_channels", "amount": 0.5, "epochs": 2}]]
    job = sdk.jobs.compress("three", version=trained.model.version, recipes=recipes)
    await_running(sdk, kind="compress")
    empty(sdk, machine, job)
    assert sdk.jobs.wait(job, timeout=90).attempt == 2
