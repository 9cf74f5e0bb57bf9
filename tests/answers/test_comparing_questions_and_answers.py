"""Words and vectors: what BM25 gives, what a batch teaches, and that serving computes what training computed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.lexical import Lexicon, terms_of, with_runs
from workers.retrieving import AnswerIndex, Certainty, Encoder, Mixture, best_and_margin
from workers.texts import TextEncoder
from workers.training.retrieval.judging import Found, fit_certainty, knowing_figures
from workers.training.retrieval.network import Tower, contrastive_loss, make_pairs

TEXTS = st.lists(st.text(alphabet="ab 借书？é", max_size=12), min_size=1, max_size=6)


def test_bm25_is_that_of_the_formula():
    documents = ["late late book", "library card", "a book about a library"]
    lengths, mean = (3, 2, 5), 10 / 3

    def rarity(having: int) -> float:
        return math.log(1 + (3 - having + 0.5) / (having + 0.5))

    def weight(having: int, times: int, length: int) -> float:
        return rarity(having) * times / (times + 1.2 * (0.25 + 0.75 * length / mean))

    found = Lexicon.of(documents, has_runs=False).scores(["late BOOK?", "unknown card"])
    whole = rarity(1) + rarity(2)
    expected = [(weight(1, 2, lengths[0]) + weight(2, 1, lengths[0])) / whole, 0, weight(2, 1, lengths[2]) / whole]
    assert found[0] == pytest.approx(expected, rel=1e-5)
    assert found[1] == pytest.approx([0, weight(1, 1, lengths[1]) / (rarity(0) + rarity(1)), 0], rel=1e-5)


@settings(max_examples=30)
@given(TEXTS, TEXTS)
def test_scores_lie_between_0_and_1_and_do_not_depend_on_what_is_asked_beside(documents, questions):
    lexicon = Lexicon.of(documents)
    found = lexicon.scores(questions)
    assert found.shape == (len(questions), len(documents)) and (found >= 0).all() and (found <= 1).all()
    assert all(np.array_equal(found[n], lexicon.scores([question])[0]) for n, question in enumerate(questions))


def test_inflected_and_compound_words_have_runs_in_common():
    assert not set(terms_of("printing")) & set(terms_of("printer"))
    assert {" pri", "prin", "rint"} <= set(with_runs("printing")) & set(with_runs("printer"))
    assert terms_of("借书证 OK") == ["借", "书", "证", "ok", "借书", "书证"]


def test_each_question_is_paired_with_its_answer_and_with_another_of_the_same_answer():
    answer_of = np.array([2, 0, 2, 1, 2])
    lefts, rights = make_pairs(np.array([0, 1, 2, 4]), answer_of, 5, seed=3)
    to_answers = {(left, right - 5) for left, right in zip(lefts.tolist(), rights.tolist(), strict=True) if right >= 5}
    assert to_answers == {(0, 2), (1, 0), (2, 2), (4, 2)}
    siblings = [(left, right) for left, right in zip(lefts.tolist(), rights.tolist(), strict=True) if right < 5]
    assert sorted(left for left, _right in siblings) == sorted(right for _left, right in siblings) == [0, 2, 4]
    assert all(left != right for left, right in siblings)


def test_what_has_the_same_question_or_answer_is_no_wrong_partner():
    loss = contrastive_loss()
    vectors = torch.nn.functional.normalize(torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0)), dim=2)
    of_two = loss(vectors[[0, 2]], torch.tensor([[0, 0], [2, 2]]))
    assert loss(vectors, torch.tensor([[0, 0], [1, 1], [2, 2]])) > of_two
    twice = vectors[[0, 0]].clone()
    assert loss(twice, torch.tensor([[0, 0], [0, 0]])).item() == pytest.approx(0), "there is no wrong one"
    assert loss(twice, torch.tensor([[0, 0], [1, 1]])).item() == pytest.approx(math.log(2), rel=1e-5)
    for alike in ([[0, 0], [0, 1]], [[0, 0], [1, 0]]):
        assert loss(vectors[:2], torch.tensor(alike)).item() == pytest.approx(0)


@settings(max_examples=30)
@given(TEXTS)
def test_serving_makes_the_vectors_that_training_made(texts):
    encoder = TextEncoder(0, 64, 128, 100)
    torch.manual_seed(0)
    tower = Tower(word_buckets=64, run_buckets=128, width=8, dropout=0.5).eval()
    tower.weigh(torch.rand(tower.weights.shape).index_fill(0, torch.tensor([0]), 0))
    served = Encoder(encoder, tower.bag.embedding.weight.detach().numpy(), tower.weights.numpy()).vectors(texts)
    trained = tower.embed(torch.from_numpy(encoder.encode(texts))).detach().numpy()
    assert np.allclose(served, trained, atol=1e-5)


def test_an_answer_is_scored_by_its_whole_and_by_its_nearest_question():
    owners = np.array([0, 0, 2])
    index = AnswerIndex.of(owners, ["one", "two", "three"], ["first", "second", "third"])
    index = index.with_vectors(np.eye(3, dtype=np.float32), np.zeros((3, 3), dtype=np.float32))
    vectors = np.array([[0.6, 0.8, 0.0]], dtype=np.float32)
    compared = index.compare(["nothing known"], vectors)
    assert index.scores(compared, Mixture(1.0, 0.0))[0] == pytest.approx([0.8, 0, 0])
    assert index.scores(compared, Mixture(1.0, 1.0))[0] == pytest.approx([1.4 / 2**0.5, 0, 0])
    assert index.scores(compared, Mixture(1.0, 0.25))[0, 0] == pytest.approx(0.25 * 1.4 / 2**0.5 + 0.75 * 0.8)
    known = index.known_scores(compared, Mixture(1.0, 0.5))[0]
    assert [index.nearest_question(known, answer) for answer in range(3)] == [1, -1, 2]


def test_certainty_is_high_where_answers_are_right_and_low_where_there_are_none():
    draw = np.random.default_rng(0)
    right = draw.random(400) < 0.8
    scores = np.where(right, draw.normal(0.7, 0.1, 400), draw.normal(0.4, 0.1, 400))
    margins = np.where(right, draw.normal(0.3, 0.05, 400), draw.normal(0.05, 0.05, 400))
    other, other_margins = draw.normal(0.35, 0.1, 400), draw.normal(0.05, 0.03, 400)
    found = Found(np.where(right, 1, 4), np.zeros(400), scores, margins, other, other_margins)
    certainty = fit_certainty(found)
    told = knowing_figures(certainty, found)
    assert told["right_when_answered"] > 0.95 and told["refused_without_answer"] > 0.9 and 0.7 < told["answered"] < 0.9
    assert certainty.of(np.array([[0.9, 0.4, 0.1]]))[0] > 0.9 > 0.1 > certainty.of(np.array([[0.3, 0.29, 0.1]]))[0]


def test_the_margin_is_how_far_the_second_is_below_the_first():
    first, margin = best_and_margin(np.array([[0.2, 0.9, 0.5], [0.3, 0.3, 0.1]]))
    assert first.tolist() == [0.9, 0.3] and margin.tolist() == pytest.approx([0.4, 0.0])
    assert Certainty(0.0, 0.0, 0.0, 0.5).of(np.array([[0.4]])).tolist() == [0.5]
