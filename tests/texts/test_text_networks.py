"""The networks for texts: padding, other rows and ids that training never showed change no answer."""

import numpy as np
import pytest
import torch

from workers.texts import TextEncoder
from workers.training.hyperparameters import resolve
from workers.training.text_models import TextProbabilities, build_text_classifier, reversed_order
from workers.training.text_networks import TEXT_NETWORKS, choose_network, network_arguments

TEXTS = ["where is my parcel", "me", "i do not want it any more, take it back please", "可以退货吗", "?"]
ORDER, WORDS, RUNS = 2**10, 2**13, 2**14


def encoder_for(architecture: str) -> TextEncoder:
    order = 0 if architecture == "hashed_ngrams" else ORDER
    words, runs = (WORDS, RUNS) if architecture in ("hashed_ngrams", "blend") else (0, 0)
    return TextEncoder(order, words, runs, characters=200, tokens=12 if order else 0)


def network(architecture: str) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = resolve("text_classification", overrides={"embedding_size": 8})
    encoder = encoder_for(architecture)
    model = build_text_classifier(architecture, network_arguments(architecture, settings, encoder, classes=3))
    weights = torch.ones(encoder.ids_in_all)
    weights[0] = 0
    model.weigh(weights)
    return model.eval()


@pytest.mark.parametrize("architecture", TEXT_NETWORKS)
def test_padding_and_other_texts_change_no_answer(architecture):
    model, encoder = network(architecture), encoder_for(architecture)
    with torch.no_grad():
        together = model(torch.from_numpy(encoder.encode(TEXTS)))
        for text, expected in zip(TEXTS, together, strict=True):
            alone = encoder.encode([text])
            assert torch.allclose(model(torch.from_numpy(alone))[0], expected, atol=1e-5)
            padded = np.pad(alone, ((0, 0), (0, max(0, 12 - alone.shape[1]))))
            assert torch.allclose(model(torch.from_numpy(padded))[0], expected, atol=1e-5)


@pytest.mark.parametrize("architecture", TEXT_NETWORKS)
def test_ids_that_training_never_showed_count_nothing(architecture):
    model, encoder = network(architecture), encoder_for(architecture)
    known = torch.from_numpy(encoder.encode(["where is my parcel"]))
    weights = torch.zeros(encoder.ids_in_all)
    weights[known.long().flatten()] = 1
    model.weigh(weights)
    strange = torch.from_numpy(encoder.encode(["щит", "ёж"]))
    assert not torch.isin(strange, known)[strange != 0].any()
    with torch.no_grad():
        first, second = model(strange)
    if architecture == "hashed_ngrams":
        assert torch.allclose(first, model.head.bias)
    assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("architecture", TEXT_NETWORKS)
def test_as_served_it_answers_the_same(architecture):
    model, ids = network(architecture), torch.from_numpy(encoder_for(architecture).encode(TEXTS))
    with torch.no_grad():
        served = TextProbabilities(model)(ids)
        assert torch.allclose(served, model(ids).softmax(dim=1), atol=1e-6)


@pytest.mark.parametrize("architecture", TEXT_NETWORKS)
def test_dividing_the_logits_makes_answers_less_certain_and_no_other(architecture):
    model, ids = network(architecture), torch.from_numpy(encoder_for(architecture).encode(TEXTS))
    with torch.no_grad():
        before = model(ids)
        model.divide_logits(2.0)
        assert torch.allclose(model(ids), before / 2, atol=1e-6)


@pytest.mark.parametrize("architecture", ["text_gru", "text_transformer", "blend"])
def test_the_order_of_words_matters(architecture):
    model, encoder = network(architecture), encoder_for(architecture)
    with torch.no_grad():
        one, other = model(torch.from_numpy(encoder.encode(["good not bad", "bad not good"])))
    assert (one - other).abs().max() > 1e-4


def test_words_are_turned_round_and_padding_stays_behind():
    is_word = torch.tensor([[True, True, True, False], [True, False, False, False]])
    assert reversed_order(is_word).tolist()[0][:3] == [2, 1, 0]
    order = reversed_order(is_word)
    assert order[0, 3] == 3 and order[1].tolist() == [0, 1, 2, 3]


def test_the_two_of_a_blend_learn_from_other_texts():
    model, ids = network("blend").train(), torch.from_numpy(encoder_for("blend").encode(TEXTS[:2]))
    model(ids)[1].sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.ngrams.parameters())
    assert model.gru.head.weight.grad.any()
    assert model(ids[:1]).shape == (1, 3)


def test_words_count_as_much_as_the_many_more_runs_of_characters():
    model, encoder = network("hashed_ngrams"), encoder_for("hashed_ngrams")
    ids = torch.from_numpy(encoder.encode(["incomprehensibilities"]))
    is_word = ids <= WORDS
    assert is_word.sum() == 1 and (~is_word).sum() > 50
    with torch.no_grad():
        rows = model.bag.embedding(ids)[0]
        expected = rows[is_word[0]].sum(dim=0) + rows[~is_word[0]].sum(dim=0) / (~is_word).sum().sqrt()
        assert torch.allclose(model.features(ids)[0], expected, atol=1e-5)


def test_long_data_sets_are_left_to_the_quick_network():
    assert choose_network("auto", 10_000) == "blend"
    assert choose_network("auto", 10**8) == "hashed_ngrams"
    assert choose_network("text_gru", 10**8) == "text_gru"


def test_in_training_every_text_of_a_blend_is_answered_by_its_own_half():
    model, ids = network("blend"), torch.from_numpy(encoder_for("blend").encode(TEXTS))
    with torch.no_grad():
        bag, order = model.ngrams(model._bag(ids)), model.gru(model._words(ids))
        both = model._divided(ids)
    for number, answer in enumerate(both):
        assert torch.allclose(answer, (order if number % 2 else bag)[number], atol=1e-5)
