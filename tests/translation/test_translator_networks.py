"""The transformer: padding means nothing, nothing is known of what comes later, and a cache changes no answer."""

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.inference.beams import Search, search
from workers.inference.decoding import CachedDecoding
from workers.parallel.plan import ParallelPlan
from workers.parallel.strategies.base import Strategy
from workers.subwords import BEGIN, END, PADDING
from workers.training.batches import Batches, BatchesByTokens
from workers.training.text_data import Ragged
from workers.training.translation_models import Translator, build_translator
from workers.training.writing import begun, token_loss, torch_step

ARGUMENTS = {
    "source_pieces": 20, "target_pieces": 17, "is_shared": False, "width": 16, "heads": 2, "encoder_blocks": 2,
    "decoder_blocks": 2, "dropout": 0.0, "longest": 12,
}  # fmt: skip


def make(**changes: object) -> Translator:
    torch.manual_seed(0)
    return build_translator({**ARGUMENTS, **changes}).eval()


def ids(*rows: list[int]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])


SOURCE, WRITTEN = [5, 9, 7, END], [BEGIN, 4, 8, 6]


@torch.no_grad()
def test_padding_changes_nothing():
    model = make()
    alone = model(ids(SOURCE), ids(WRITTEN))
    padded = model(ids(SOURCE, [3] * 9 + [END]), ids(WRITTEN, [BEGIN, *[5] * 8]))
    assert torch.allclose(alone[0], padded[0, :4], atol=1e-5)


@torch.no_grad()
def test_what_comes_later_is_not_known_and_what_stands_before_is():
    model = make()
    one, other = (model(ids(SOURCE), ids([BEGIN, 4, third, 6]))[0] for third in (8, 9))
    assert torch.allclose(one[:2], other[:2], atol=1e-6)
    assert not torch.allclose(one[2], other[2], atol=1e-3) and not torch.allclose(one[3], other[3], atol=1e-3)


@torch.no_grad()
def test_every_word_of_the_source_and_its_place_count():
    model = make()
    answers = [model(ids(source), ids(WRITTEN)) for source in (SOURCE, [5, 9, 8, END], [9, 5, 7, END])]
    assert not torch.allclose(answers[0], answers[1], atol=1e-3)
    assert not torch.allclose(answers[0], answers[2], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_cache_gives_what_is_computed_anew(is_shared):
    model = make(is_shared=is_shared)
    sources, written = ids(SOURCE, [3, END]), ids(WRITTEN, [BEGIN, 7, 7, 3])
    expected = model(sources, written).log_softmax(dim=2).numpy()
    state = [array.numpy() for array in model.memorise(sources)]
    step = torch_step(model, "cpu")
    keys = values = state[0][:, :, :, :0]
    for place in range(4):
        scores, keys, values = step(written[:, place].numpy(), keys, values, *state)
        assert np.abs(scores - expected[:, place]).max() < 1e-5
    assert keys.shape[3] == 4


class Anew:
    """A search over a model that reads the source and all that is written again at each step."""

    def __init__(self, model: Translator, sources: Tensor) -> None:
        self.model, self.rows = model, [(source, []) for source in sources]

    @torch.no_grad()
    def step(self, tokens: np.ndarray) -> np.ndarray:
        self.rows = [(source, [*row, int(token)]) for (source, row), token in zip(self.rows, tokens, strict=True)]
        answers = [self.model(source[None], torch.tensor([row]))[0, -1] for source, row in self.rows]
        return torch.stack(answers).log_softmax(dim=1).numpy()

    def keep(self, rows: np.ndarray) -> None:
        self.rows = [self.rows[row] for row in rows]


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
def test_a_search_over_a_cache_finds_what_a_search_without_one_does(beams):
    """Some sentences end before the others, and beams go on from one another."""
    model, sources = make(), ids(SOURCE, [3, END], [8, 3, 11, 5, 4, END], [6, 6, END])
    for parameter in model.parameters():
        parameter.mul_(1.7)  # an untrained network is sure of nothing
    cached = CachedDecoding(torch_step(model, "cpu"), *(array.numpy() for array in model.memorise(sources)))
    limits, settings = [4, 9, 6, 9], Search(beams)
    found, expected = (search(decoding, limits, settings) for decoding in (cached, Anew(model, sources)))
    assert [item.tokens for item in found] == [item.tokens for item in expected]
    assert len({item.tokens for item in found}) == 4
    for one, other in zip(found, expected, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


def test_where_pieces_are_shared_there_is_one_embedding():
    own, shared = (make(is_shared=is_shared, source_pieces=17) for is_shared in (False, True))
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (own, shared)]
    assert count[0] - count[1] == 17 * 16
    names = shared.state_dict()
    assert len({value.data_ptr() for value in names.values()}) == len(names)


def test_the_loss_is_the_mean_over_tokens_and_not_over_sentences_or_padding():
    loss = token_loss(0.0)
    targets = ids([4, 5, 6, END], [7, END])
    logits = torch.randn(2, 4, 17, generator=torch.Generator().manual_seed(1))
    picked = -logits.log_softmax(dim=2).gather(2, targets[:, :, None])[:, :, 0]
    assert loss(logits, targets).item() == pytest.approx(picked[targets != PADDING].mean().item(), abs=1e-6)
    assert loss.weigh(targets) == 6
    wider = torch.cat([targets, torch.zeros(2, 3, dtype=torch.long)], dim=1)
    assert loss(logits, wider).item() == pytest.approx(loss(logits, targets).item())


def test_a_batch_in_parts_is_the_same_step():
    rows = [[4, 5, 6, 7, END], [7, END], [9, 4, END], [3, 3, 3, END]]
    store = Ragged([np.array(row, dtype=np.int32) for row in rows])
    gradients = []
    for parts in (1, 3):
        model = make()
        batches = Batches([store, begun(store)], torch.from_numpy(store[np.arange(4)]), 4, seed=0)
        strategy = Strategy(ParallelPlan(accumulation=parts))
        settings = {"mixed_precision": "no", "ema_decay": 0.0, "optimizer": "sgd", "momentum": 0.0,
                    "learning_rate": 0.1, "weight_decay": 0.0, "max_grad_norm": 0.0}  # fmt: skip
        strategy.prepare(model, batches, token_loss(0.1), settings, "cpu")
        loss = strategy._descend(next(batches.epoch(0)))
        gradients.append((loss, model.target_embedding.weight.grad.clone()))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-6)
    assert torch.allclose(gradients[0][1], gradients[1][1], atol=1e-6)


def of_lengths(lengths: np.ndarray, most: int, seed: int = 0) -> BatchesByTokens:
    return BatchesByTokens([np.arange(len(lengths))], torch.arange(len(lengths)), most, seed, lengths=lengths)


def test_batches_hold_so_many_tokens_and_each_example_once_an_epoch():
    lengths = np.random.default_rng(0).integers(1, 40, 500)
    batches = of_lengths(lengths, 100)
    for epoch in (0, 1):
        parts = [batch.rows for batch in batches.epoch(epoch)]
        assert len(parts) == len(batches)
        assert sorted(np.concatenate(parts)) == list(range(500))
        assert max(len(part) * lengths[part].max() for part in parts) <= 100
        assert sum(len(part) * lengths[part].max() for part in parts) < 1.05 * lengths.sum()
    assert len(next(of_lengths(np.array([500, 1]), 100).epoch(0))) == 1


def test_epochs_differ_and_each_can_be_gone_on_with():
    batches = of_lengths(np.random.default_rng(0).integers(1, 9, 200), 60)
    first, second = ([batch.rows.tolist() for batch in batches.epoch(number)] for number in (0, 1))
    assert first != second
    rest = list(batches.epoch(1, start=3))
    assert [batch.rows.tolist() for batch in rest] == second[3:]
    assert rest[0].step == len(batches) + 3
    lengths = [[batches.lengths[rows].mean() for rows in epoch] for epoch in (first, second)]
    assert lengths[0] != sorted(lengths[0]) and lengths[0] != lengths[1]
