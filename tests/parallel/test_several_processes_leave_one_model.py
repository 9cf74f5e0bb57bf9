"""The training program as a gang runs it: several processes, one story in the events, one complete model."""

import json
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.parallel.torchrun import free_port, start_node
from tests.training.images import events_of, make_spec, wait_for, write_digits
from workers.contract import EXIT_FAILED, EXIT_STOPPED, EventWriter, ProgramFailure, TrainSpec, read_spec
from workers.parallel.plan import DDP, FSDP, ParallelPlan
from workers.training.image_models import ImageClassifier
from workers.training.images import train
from workers.training.stopping import Stop

pytestmark = pytest.mark.xdist_group("gang-of-4")
SECONDS = 240


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), 200)


def plan(strategy: str) -> dict:
    return json.loads(json.dumps(asdict(ParallelPlan(strategy, world_size=2))))


def write_spec(work: Path, data: Path, strategy: str, **settings: object) -> Path:
    """A spec for two processes."""
    path = make_spec(work, data, **settings)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"plan": plan(strategy)}))
    return path


def start(*specs: Path) -> list[subprocess.Popen]:
    """Two processes: on one node, or one on each of two with a work folder of its own."""
    port, nodes = free_port(), len(specs)
    return [
        start_node("workers.training", spec, processes=2 // nodes, port=port, rank=rank, nodes=nodes)
        for rank, spec in enumerate(specs)
    ]


def end_all(nodes: list[subprocess.Popen]) -> list[int]:
    try:
        return [node.wait(SECONDS) for node in nodes]
    finally:
        for node in nodes:
            node.kill()


def rank_of(node: subprocess.Popen, rank: int) -> psutil.Process:
    children = psutil.Process(node.pid).children(recursive=True)
    return next(child for child in children if child.environ().get("RANK") == str(rank))


def test_two_processes_leave_the_model_of_one(digits: Path, tmp_path: Path) -> None:
    settings = {"epochs": 3, "batch_size": 40, "class_weights": "balanced"}
    assert end_all(start(write_spec(tmp_path / "two", digits, DDP, **settings))) == [0]
    alone = make_spec(tmp_path / "one", digits, **settings)
    train(read_spec(TrainSpec, alone), EventWriter(alone.parent / "events.jsonl"), Stop())
    two, one = (json.loads((tmp_path / name / "output/result.json").read_text()) for name in ("two", "one"))
    for mine, expected in zip(two["history"], one["history"], strict=True):
        assert mine == pytest.approx(expected, rel=1e-3)
    assert two["metrics"]["test"]["accuracy"] == one["metrics"]["test"]["accuracy"]
    events = events_of(tmp_path / "two")
    assert [event["type"] for event in events].count("result") == 1
    folder = tmp_path / "two" / "output" / "model"
    model = ImageClassifier(**json.loads((folder / "meta.json").read_text())["architecture_args"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    assert (folder / "model.onnx").exists()
    assert torch.isfinite(model.eval()(torch.zeros(1, 16, 16, 1, dtype=torch.uint8))).all()


def test_two_machines_stop_when_one_is_told_to_and_go_on_from_what_each_kept(digits: Path, tmp_path: Path) -> None:
    works = [tmp_path / "first", tmp_path / "second"]
    nodes = start(*(write_spec(work, digits, FSDP, epochs=40) for work in works))
    wait_for(works[0], lambda events: any(event.get("step", 0) >= 8 for event in events), SECONDS)
    rank_of(nodes[1], 1).send_signal(signal.SIGTERM)
    assert end_all(nodes) == [EXIT_STOPPED] * 2
    kept = [event for event in events_of(works[0]) if event["type"] == "checkpoint"][-1]
    for rank, work in enumerate(works):
        files = {path.name for path in (work / kept["path"]).iterdir()}
        assert files == {f"rank-0{rank}-of-02.{name}" for name in ("state.safetensors", "state.json", "manifest.json")}

    before = len(events_of(works[0]))
    for work in works:
        spec = json.loads((work / "spec.json").read_text())
        (work / "spec.json").write_text(json.dumps(spec | {"resume": True}))
    nodes = start(*(work / "spec.json" for work in works))
    wait_for(works[0], lambda events: any(event["type"] == "metric" for event in events[before:]), SECONDS)
    rank_of(nodes[0], 0).send_signal(signal.SIGTERM)
    assert end_all(nodes) == [EXIT_STOPPED] * 2
    steps = [event["step"] for event in events_of(works[0])[before:] if event["type"] == "metric"]
    assert min(steps) == kept["step"] + 1
    assert not (works[1] / "events.jsonl").exists()


def test_what_one_process_cannot_do_is_told_once_and_ends_all(digits: Path, tmp_path: Path) -> None:
    works = [tmp_path / "first", tmp_path / "second"]
    specs = [write_spec(work, digits, DDP) for work in works]
    spec = json.loads(specs[1].read_text())
    broken = tmp_path / "data.zip"
    broken.write_bytes(b"not an archive")
    specs[1].write_text(json.dumps(spec | {"data_path": str(broken)}))
    assert end_all(start(*specs)) == [EXIT_FAILED] * 2
    (failure,) = [event for event in events_of(works[0]) if event["type"] == "failure"]
    assert failure["code"] == "unreadable_data"
    assert not (works[1] / "events.jsonl").exists()


def test_a_plan_for_other_processes_than_were_started_is_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailure) as caught:
        train(read_spec(TrainSpec, write_spec(tmp_path, digits, DDP)), EventWriter(tmp_path / "events.jsonl"), Stop())
    assert (caught.value.code, caught.value.blame) == ("wrong_world_size", "machine")
