"""Each recipe whose data is drawn or put together by Lepton: the check finds nothing serious in it, and a training that
is even shorter than the recipe's answers something new."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from apps.recipes.catalogue import Recipe, all_recipes, find_recipe
from tests.preprocessing.uploads import Prepared, Workplace
from workers.contract import EventWriter, TrainSpec, write_spec
from workers.domains import TASKS
from workers.examples import files, pictures, sounds
from workers.examples.catalogue import EXAMPLES
from workers.inference.answers import answer
from workers.inference.framing import RAW, Question
from workers.inference.predictor import load_predictor
from workers.training.hyperparameters import resolve
from workers.training.stopping import Stop

SHORTER = {
    "control-panel": {"epochs": 6},
    "diagnosis-from-pictures": {"epochs": 8, "image_size": 24},
    "machine-sounds": {"epochs": 10},
    "dialled-numbers": {"epochs": 5},
    "travel-phrases": {"epochs": 12},
}
UNHEARD = (
    ("Let us meet at the beach on Monday.", "我们星期一在海滩见面吧。"),
    ("Is the bus station open tomorrow morning?", "汽车站明天早上开门吗？"),
    ("We want to go to the hospital on Sunday.", "我们星期天想去医院。"),
    ("Is there a boat this afternoon?", "今天下午有船吗？"),
    ("Let us meet at the university this evening.", "我们今天晚上在大学见面吧。"),
)


@pytest.fixture(params=SHORTER)
def recipe(request) -> Recipe:
    return find_recipe(request.param)


def test_every_task_has_a_recipe():
    assert {recipe.task for recipe in all_recipes()[0]} == set(TASKS)


def test_the_check_finds_nothing_serious_and_a_short_training_answers_something_new(recipe, tmp_path):
    path = recipe.folder / recipe.file
    if recipe.example:
        path = tmp_path / recipe.example
        EXAMPLES[path.stem].write(path)
    checked = Workplace(tmp_path).prepare({path.name: path.read_bytes()})
    assert checked.report["task"] == recipe.task and not checked.bad
    assert checked.report["target"] == (recipe.target or None)
    assert "serious" not in {finding["severity"] for finding in checked.report["findings"]}
    model = trained(recipe, checked, tmp_path / "work")
    right = [said(model, question) == truth for question, truth in ASKED[recipe.slug]()]
    assert np.mean(right) >= 0.8, right


def trained(recipe: Recipe, checked: Prepared, work: Path) -> Path:
    """The folder of a model that learned with the recipe's settings, but for `SHORTER`."""
    work.mkdir()
    data, index = ("data.csv", "index.json") if recipe.target else ("data.zip", "index.jsonl")
    spec = TrainSpec(
        work_dir=str(work),
        task=recipe.task,
        data_path=str(checked.output / data),
        index_path=str(checked.output / index),
        hyperparameters=resolve(recipe.task, recipe.preset, {**recipe.settings, **SHORTER[recipe.slug]}),
        resume=False,
        extends_step=0,
        checkpoint_seconds=60.0,
    )
    write_spec(spec, work / "spec.json")
    TASKS[recipe.task].load("trainer").train(spec, EventWriter(work / "events.jsonl"), Stop())
    return work / "output" / "model"


def said(model: Path, question: bytes) -> object:
    """A class, a translation or what was dialled, or the labels side by side."""
    (frame,) = answer(load_predictor(model, 1), [Question(RAW, question)])
    told = json.loads(frame.body)
    if "labels" in told:
        return sorted(item["label"] for item in told["labels"])
    return next(told[name] for name in ("class", "translation", "text") if name in told)


def new_panels() -> Iterator[tuple[bytes, list[str]]]:
    return ((picture, sorted(labels)) for picture, labels in pictures.draw_panels(20, seed=1))


def new_spots() -> Iterator[tuple[bytes, str]]:
    random = np.random.default_rng(1)
    for label in ["harmless", "suspicious"] * 10:
        yield files.encode_png(pictures.draw_spot(label == "suspicious", random)), label


def new_machines() -> Iterator[tuple[bytes, str]]:
    random = np.random.default_rng(1)
    for state in [*sounds.STATES] * 4:
        yield files.encode_sound(sounds.machine(state, random), sounds.RATE), state


def new_calls() -> Iterator[tuple[bytes, str]]:
    random = np.random.default_rng(1)
    for number in ("112", "30 24", "9061", "555 87", "418 0", "72", "66 390", "143", "80 58", "2277"):
        yield files.encode_sound(sounds.say(number, sounds.KEYS, random), sounds.RATE), number


def new_phrases() -> Iterator[tuple[bytes, str]]:
    """Sentences whose words and turns are in the phrasebook, and which are not."""
    known = (find_recipe("travel-phrases").folder / "phrases.csv").read_text(encoding="utf-8")
    for english, chinese in UNHEARD:
        assert english not in known
        yield english.encode(), chinese


ASKED = {
    "control-panel": new_panels,
    "diagnosis-from-pictures": new_spots,
    "machine-sounds": new_machines,
    "dialled-numbers": new_calls,
    "travel-phrases": new_phrases,
}
