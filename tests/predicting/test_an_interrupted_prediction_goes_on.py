"""What was answered before an interruption is not asked again, and the files are those of an undisturbed run."""

import shutil
from pathlib import Path

import pytest

from tests.inference.models import table_model
from tests.predicting.making import events_of, run, spec_for, write_rows
from workers.predicting import program
from workers.training.stopping import Stop, Stopped

FILES = ("predictions.csv", "predictions.jsonl")


class Killed(BaseException):
    """As suddenly as by the system."""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    rows = [{"age": str(20 + number % 41) if number % 97 else "old", "city": "Rome"} for number in range(2000)]
    return write_rows(tmp_path / "people.csv", rows)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return table_model(tmp_path / "model")


@pytest.fixture
def undisturbed(tmp_path: Path, model: Path, people: Path) -> dict[str, bytes]:
    return files_of(spec_for(tmp_path / "calm", model, people))


def files_of(spec) -> dict[str, bytes]:
    run(spec)
    return {name: (Path(spec.work_dir) / "output" / name).read_bytes() for name in FILES}


def count_asked(monkeypatch, *, kill_at: int | None = None) -> list[int]:
    """How many rows each batch that is asked has; the process dies at batch `kill_at`."""
    asked, ask = [], program.ask

    def counting(predictor, bodies, top_k):
        if len(asked) == kill_at:
            raise Killed
        asked.append(len(bodies))
        return ask(predictor, bodies, top_k)

    monkeypatch.setattr(program, "ask", counting)
    return asked


@pytest.mark.parametrize("kill_at", [0, 1, 4, 7])
def test_killed_anywhere_the_files_are_the_same(tmp_path, model, people, undisturbed, monkeypatch, kill_at):
    spec = spec_for(tmp_path / "work", model, people, checkpoint_seconds=0.0)
    monkeypatch.setattr("workers.training.pacing.WRITING_SHARE", 1e9)
    count_asked(monkeypatch, kill_at=kill_at)
    with pytest.raises(Killed):
        run(spec)
    monkeypatch.undo()
    asked = count_asked(monkeypatch)
    resumed = spec_for(tmp_path / "work", model, people, resume=True)
    assert files_of(resumed) == undisturbed
    assert sum(asked) == 2000 - 256 * kill_at, "only what was not answered is asked"


def test_asked_to_stop_it_keeps_the_last_row_first(tmp_path, model, people, undisturbed, monkeypatch):
    spec = spec_for(tmp_path / "work", model, people, checkpoint_seconds=1e9)
    stop = Stop()
    stop.requested = True
    with pytest.raises(Stopped):
        run(spec, stop)
    assert [event["step"] for event in events_of(spec, "checkpoint")] == [256]
    asked = count_asked(monkeypatch)
    assert files_of(spec_for(tmp_path / "work", model, people, resume=True)) == undisturbed
    assert sum(asked) == 2000 - 256


def test_a_damaged_checkpoint_is_passed_over(tmp_path, model, people, undisturbed, monkeypatch):
    spec = spec_for(tmp_path / "work", model, people, checkpoint_seconds=0.0)
    monkeypatch.setattr("workers.training.pacing.WRITING_SHARE", 1e9)
    run(spec)
    newest = sorted((tmp_path / "work/checkpoints").iterdir())[-1]
    (newest / "manifest.json").write_text("{")
    assert files_of(spec_for(tmp_path / "work", model, people, resume=True)) == undisturbed


def test_without_resuming_nothing_old_is_used(tmp_path, model, people, undisturbed):
    spec = spec_for(tmp_path / "work", model, people, checkpoint_seconds=0.0)
    shutil.copytree(tmp_path / "calm", tmp_path / "work", dirs_exist_ok=True)
    assert files_of(spec) == undisturbed
