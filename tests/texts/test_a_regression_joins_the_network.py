"""A network of n-grams gets a logistic regression of the same n-grams beside it, where that pays."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.texts.making import ENGLISH, THINGS, english, sentences, train_here, write_texts
from tests.training.here import read
from workers.texts import TextEncoder
from workers.training.stopping import Stop, Stopped
from workers.training.text_data import Ragged, weights_of
from workers.training.text_linear import add_regression, features_of, is_worth_adding, learn_again
from workers.training.text_models import build_text_classifier

ROWS = english()
LABELS = np.array([sorted(ENGLISH).index(label) for _, label in ROWS])
TRAIN, JUDGED = np.arange(80), np.arange(80, 120)
BAG = {"classes": 3, "dropout": 0.0, "word_buckets": 512, "run_buckets": 512, "width": 4}


def make_blend(labels: np.ndarray = LABELS):
    """An untrained blend and its texts: (model, what it is made from, ids)."""
    torch.manual_seed(0)
    encoder = TextEncoder(512, 512, 512, 200, 20)
    store = Ragged([encoder.ids(text) for text, _ in ROWS])
    bag = BAG | {"classes": int(labels.max()) + 1}
    order = {"classes": bag["classes"], "dropout": 0.0, "buckets": 513, "width": 8, "word_dropout": 0.0}
    arguments = {"order_buckets": 512, "ngrams": bag, "gru": order}
    model = build_text_classifier("blend", arguments)
    model.weigh(torch.from_numpy(weights_of(encoder, store, TRAIN)))
    return model.eval(), arguments, store


def of_split(model, store: Ragged, rows: np.ndarray, labels: np.ndarray):
    return features_of(model, store, rows), labels[rows]


def join(labels: np.ndarray = LABELS, check=lambda: None):
    """The model before, its texts, the model with the regression, what it is made from, and the regression."""
    model, arguments, store = make_blend(labels)
    train, judged = (of_split(model, store, rows, labels) for rows in (TRAIN, JUDGED))
    return model, store, *add_regression(model, arguments, train, judged, False, check)


def learn_from(wide, store: Ragged, regression, rows: np.ndarray, labels: np.ndarray = LABELS):
    """A copy of the model whose regression is of the texts `rows`."""
    again = deepcopy(wide)
    learn_again(again, regression, of_split(again, store, rows, labels), False)
    return again


@pytest.fixture(scope="module")
def joined():
    return join()


@torch.no_grad()
def accuracy(model, store: Ragged, labels: np.ndarray, rows: np.ndarray) -> float:
    said = model(torch.from_numpy(store[rows])).argmax(dim=1).numpy()
    return float((said == labels[rows]).mean())


def test_what_the_regression_knows_the_model_says_though_the_network_has_learned_nothing(joined):
    model, store, wide, _, _ = joined
    assert accuracy(model, store, LABELS, JUDGED) < 0.7
    assert accuracy(wide, store, LABELS, JUDGED) > 0.9


def test_two_classes_are_not_mixed_up():
    labels = (LABELS == 1).astype(np.int64)
    _, store, wide, _, _ = join(labels)
    assert accuracy(wide, store, labels, JUDGED) > 0.9


def test_only_the_n_grams_say_more_and_the_model_can_be_built_again_from_what_describes_it(joined):
    model, store, wide, arguments, _ = joined
    again = build_text_classifier("blend", arguments).eval()
    again.load_state_dict(wide.state_dict())
    ids = torch.from_numpy(store[JUDGED])
    with torch.no_grad():
        assert torch.equal(again(ids), wide(ids))
        words = model._words(ids)
        assert torch.equal(wide.gru(words), model.gru(words))
        bag = model._bag(ids)
        said = 3 * wide.ngrams(bag) / 2 - model.ngrams(bag)
    centred = said - said.mean(dim=1, keepdim=True)
    assert centred.abs().max() > 0.1, "the regression says something of its own"


def test_columns_of_both_are_of_one_size_so_that_rounding_by_one_scale_harms_neither(joined):
    model, _, wide, _, _ = joined
    weight = wide.ngrams.bag.embedding.weight
    assert weight[:, 4:].abs().max().item() == pytest.approx(weight[:, :4].abs().max().item(), rel=1e-4)
    assert torch.equal(weight[:, :4], model.ngrams.bag.embedding.weight)


@torch.no_grad()
def test_learning_the_same_texts_again_changes_no_answer(joined):
    _, store, wide, _, regression = joined
    served = deepcopy(wide)
    served.divide_logits(1.7)
    again, ids = learn_from(served, store, regression, TRAIN), torch.from_numpy(store[JUDGED])
    assert torch.allclose(again(ids), served(ids), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("labels", [LABELS, (LABELS == 1).astype(np.int64)], ids=["three classes", "two classes"])
def test_texts_that_have_judged_are_learned_from_afterwards(labels):
    _, store, wide, _, regression = join(labels)
    again = learn_from(wide, store, regression, np.arange(120), labels)
    ids, right = torch.from_numpy(store[JUDGED]), torch.from_numpy(labels[JUDGED])
    before, after = (torch.nn.functional.cross_entropy(model(ids), right) for model in (wide, again))
    assert after < 0.8 * before


def test_it_stops_between_two_fits():
    stop = Stop()
    stop.requested = True
    with pytest.raises(Stopped):
        join(check=stop.check)


def test_it_is_left_out_for_more_classes_than_numbers_and_for_a_class_without_a_text():
    model, _, store = make_blend()
    assert is_worth_adding(model, store, LABELS, TRAIN)
    assert not is_worth_adding(model, store, LABELS, TRAIN[LABELS[TRAIN] > 0])
    many = np.arange(len(ROWS)) % 5
    assert not is_worth_adding(make_blend(many)[0], store, many, TRAIN)
    gru = build_text_classifier(
        "text_gru", {"classes": 3, "dropout": 0.0, "buckets": 513, "width": 8, "word_dropout": 0.0}
    )
    assert not is_worth_adding(gru, store, LABELS, TRAIN)


@pytest.mark.parametrize("model", ["hashed_ngrams", "blend"])
def test_few_texts_are_learned_from_in_one_epoch(tmp_path: Path, model: str):
    rows = sentences(ENGLISH, THINGS[:4])
    output = train_here(tmp_path, write_texts(tmp_path / "data", rows), model=model, epochs=1, learning_rate=1e-6)
    meta, result = read(output / "model" / "meta.json"), read(output / "result.json")
    arguments = meta["architecture_args"]
    assert arguments.get("ngrams", arguments)["width"] == 16 + 3
    assert result["metrics"]["test"]["accuracy"] >= 0.8
