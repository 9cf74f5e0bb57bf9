"""Whole channels and heads go, all that belongs together goes together, and what cannot go is named."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.compression.methods.models import Separable, Transformer, residual, trained
from workers.compression.methods import Data, prepare
from workers.compression.methods.attention import Attention, open_attention
from workers.compression.methods.heads import find_heads, remove_heads
from workers.compression.methods.prune_channels import channels_left
from workers.compression.methods.trying import zeroed
from workers.contract import ProgramFailure
from workers.training.image_models import VisionTransformer

HALF = {"method": "prune_channels", "amount": 0.5, "epochs": 0}


def data_of(*inputs: Tensor) -> Data:
    return Data(inputs, lambda: [(inputs, None)])


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_layers_that_share_a_shortcut_lose_the_same_channels() -> None:
    case = trained("residual")
    model = case.copy()
    assert prepare(model, HALF, case.data()) == []
    first, second = model.features[1], model.features[2]
    assert model.features[0][0].out_channels == first.second[0].out_channels == 8
    assert second.second[0].out_channels == second.shortcut[0].out_channels == model.head.in_features == 16
    assert first.first[0].out_channels == 8
    assert (model.features[0][0].in_channels, model.head.out_features) == (1, 10)  # what is asked and what is answered


def test_removing_channels_that_do_nothing_changes_no_answer() -> None:
    case = trained("residual")
    model = case.copy()
    inner = model.features[2].first[0]
    dead = torch.randperm(32, generator=torch.Generator().manual_seed(1))[:16]
    with torch.no_grad():
        for tensor in (inner.weight, model.features[2].first[1].weight, model.features[2].first[1].bias):
            tensor[dead] = 0
        model.features[2].second[0].weight[:, dead] = 0
    kept = torch.isin(torch.arange(32), dead, invert=True)
    weights = inner.weight[kept].clone()
    prepare(model, HALF, case.data())
    assert inner.weight.shape[0] == 16
    # The inputs of these channels were narrowed too, so that theirs are compared by what is left of them.
    norms = model.features[2].first[1].weight
    assert torch.equal(norms, case.model.features[2].first[1].weight[kept])
    assert inner.weight.shape[1] < weights.shape[1]


def test_depthwise_and_grouped_convolutions_stay_consistent() -> None:
    case = trained("separable")
    model: Separable = case.copy()
    notes = prepare(model, HALF, case.data())
    depthwise, grouped = model.depthwise[0], model.grouped[0]
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (8, 8, 8)
    assert (grouped.in_channels, grouped.out_channels, grouped.groups) == (16, 16, 4)
    # Behind the branches stands a flattening, of which the graph does not know which weight belongs to which channel.
    assert any(note.startswith("left, right keeps its 8 channels") for note in notes)
    assert (model.left.out_channels, model.right.out_channels) == (8, 12)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 12, 3, padding=1)
        self.after, self.head = nn.Conv2d(20, 16, 3), nn.Linear(16 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        joined = torch.cat([self.left(images), self.right(images)], dim=1).relu()
        return self.head(self.after(joined).flatten(1))


def test_branches_side_by_side_are_narrowed_each_for_itself() -> None:
    torch.manual_seed(0)
    model = Branches()
    assert prepare(model, HALF, data_of(noise(4, 3, 6, 6))) == []
    assert (model.left.out_channels, model.right.out_channels, model.after.in_channels) == (4, 6, 10)
    assert (model.after.out_channels, model.head.in_features) == (8, 8 * 16)


@pytest.mark.parametrize("order", ["parts first", "heads first"])
def test_a_head_goes_as_if_it_had_never_spoken(order: str) -> None:
    class Joint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n_heads, self.both, self.out = 4, nn.Linear(24, 72), nn.Linear(24, 24)

        def forward(self, values: Tensor) -> Tensor:
            shape = (3, self.n_heads, 6) if order == "parts first" else (self.n_heads, 3, 6)
            parts = self.both(values).unflatten(-1, shape)
            queries, keys, values = (part.transpose(1, 2) for part in parts.unbind(2 if order == "parts first" else 3))
            mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
            return self.out(mixed.transpose(1, 2).flatten(2))

    torch.manual_seed(0)
    model, values = Joint(), noise(2, 7, 24)
    (attention,) = find_heads(model)
    with torch.no_grad(), zeroed([(model.out.weight, torch.arange(6, 18))]):
        wanted = model(values)
    assert remove_heads(model, attention, torch.tensor([1, 2]), (values,))
    assert (model.n_heads, model.both.out_features, model.out.in_features) == (2, 36, 12)
    torch.testing.assert_close(model(values), wanted)


def test_an_attention_of_an_unknown_order_keeps_its_heads_and_is_named() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads, self.qkv, self.out = 4, nn.Linear(24, 72), nn.Linear(24, 24)

        def forward(self, values: Tensor) -> Tensor:
            # The numbers of a head stand apart from each other.
            parts = self.qkv(values).unflatten(-1, (3, -1, self.heads)).permute(2, 0, 4, 1, 3)
            mixed = nn.functional.scaled_dot_product_attention(*parts)
            return self.out(mixed.permute(0, 2, 3, 1).flatten(2))

    torch.manual_seed(0)
    model, values = Shuffled(), noise(2, 7, 24)
    before = deepcopy(model)(values)
    with pytest.raises(ProgramFailure) as failure:
        prepare(model, HALF, data_of(values))
    assert failure.value.code == "nothing_to_compress"
    assert "keeps its 4 heads" in failure.value.message
    torch.testing.assert_close(model(values), before)


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_opened_attention_answers_as_torchs_own(batch_first: bool) -> None:
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(24, 4, batch_first=batch_first).eval()
    opened = Attention.of(plain).eval()
    query, key = noise(3, 5, 24), noise(3, 6, 24) + 1
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[0, 4:] = True
    causal = torch.ones(5, 6, dtype=torch.bool).triu(2)
    if not batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    wanted, _ = plain(query, key, key, key_padding_mask=padding, attn_mask=causal)
    found, weights = opened(query, key, key, key_padding_mask=padding, attn_mask=causal)
    torch.testing.assert_close(found, wanted)
    assert weights is None


def test_torchs_own_encoder_is_narrowed() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 16), nn.TransformerEncoder(layer, 2), nn.Linear(16, 3)).eval()
    values = noise(4, 5, 8)
    wanted = model(values)
    opened = deepcopy(model)
    open_attention(opened)
    torch.testing.assert_close(opened(values), wanted)
    with torch.no_grad():
        torch.testing.assert_close(opened(values), wanted)  # where torch would take a short way past the modules
    prepare(model, HALF, data_of(values))
    attention = model[1].layers[0].self_attn
    assert (attention.heads, attention.output.in_features) == (2, 8)
    assert model[1].layers[0].linear1.out_features == 32
    with torch.no_grad():
        assert model(values).shape == wanted.shape


def test_heads_and_the_stream_of_a_transformer_are_narrowed_apart() -> None:
    case = trained("transformer")
    model: Transformer = case.copy()
    assert prepare(model, HALF, case.data()) == []
    own, opened = (block.attention for block in model.blocks)
    assert (own.heads, own.qkv.out_features, own.qkv.in_features) == (2, 48, 16)
    assert opened.attention.heads == 2
    assert model.tokens.embedding_dim == model.positions.shape[2] == model.norm.normalized_shape[0] == 16


class Unfolded(nn.Module):
    """What is behind takes four channels as one of twice the sides, and two slices each by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(4, 8, 3)
        self.hidden, self.head, self.rest = nn.Linear(8, 20), nn.Linear(12, 3), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        larger = nn.functional.pixel_shuffle(self.first(images), 2)
        values = self.hidden(self.second(larger).relu().mean(dim=(2, 3))).relu()
        return self.head(values[:, :12]) + self.rest(values[:, 12:])


def test_what_the_graph_does_not_understand_is_left_and_named() -> None:
    torch.manual_seed(0)
    model = Unfolded()
    notes = prepare(model, HALF, data_of(noise(4, 3, 9, 9)))
    reason = "which of the weights after them take which could not be made out"
    assert sorted(notes) == [f"first keeps its 16 channels: {reason}.", f"hidden keeps its 20 channels: {reason}."]
    assert (model.first.out_channels, model.second.out_channels, model.hidden.in_features) == (16, 4, 4)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.hidden = nn.Embedding(11, 12), nn.Linear(12, 32)
        self.back, self.head = nn.Linear(32, 12), nn.Linear(12, 11, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        values = self.tokens(tokens)
        return self.head(values + self.back(self.hidden(values).relu()))


def test_tied_weights_stay_tied_and_are_named() -> None:
    torch.manual_seed(0)
    model = Tied()
    notes = prepare(model, HALF, data_of(torch.arange(11).reshape(1, 11)))
    assert model.head.weight is model.tokens.weight
    assert model.tokens.weight.shape == (11, 12)
    assert model.hidden.out_features == 16
    assert any("head and tokens share weights with another layer" in note for note in notes)


def test_recurrent_layers_keep_their_channels_and_are_named() -> None:
    case = trained("recurrent")
    model = case.copy()
    notes = prepare(model, HALF, case.data())
    assert notes == [
        "gru keeps all its channels: it is recurrent (GRU), and all its steps share it.",
        "tokens keeps its 16 channels: they enter or leave a layer that cannot be narrowed.",
    ]
    assert (model.gru.hidden_size, model.hidden.in_features, model.hidden.out_features) == (48, 48, 32)


def test_a_model_without_inner_channels_says_so() -> None:
    with pytest.raises(ProgramFailure) as failure:
        prepare(nn.Linear(4, 3), HALF, data_of(noise(2, 4)))
    assert failure.value.code == "nothing_to_compress"
    assert failure.value.blame == "settings"


def test_statistics_of_normalisations_are_renewed() -> None:
    case = trained("residual")
    stale, model = case.copy(), case.copy()
    prepare(model, {**HALF, "amount": 0.25}, case.data())
    norm, count = model.features[2].first[1], stale.features[2].first[1].num_batches_tracked
    assert norm.num_batches_tracked == count  # as if it had not been looked at
    kept = []
    norm.register_forward_hook(lambda _module, inputs, _output: kept.append(inputs[0].mean(dim=(0, 2, 3))))
    model.eval()
    for inputs, _ in case.batches():
        model(*inputs)
    torch.testing.assert_close(norm.running_mean, torch.stack(kept).mean(dim=0), rtol=0.1, atol=0.2)


@given(st.integers(1, 2000), st.floats(0.01, 0.95))
def test_the_share_of_channels_is_kept_to_and_one_always_stays(count: int, amount: float) -> None:
    left = channels_left(count, amount)
    assert 1 <= left <= count
    assert abs(left - count * (1 - amount)) <= max(1, 0.125 * count * (1 - amount) + 1)
    assert count * (1 - amount) < 36 or left % 8 == 0 or left == count


def test_the_model_trains_in_the_mode_it_had() -> None:
    model = residual().train()
    prepare(model, HALF, data_of(torch.zeros(4, 8, 8, 1, dtype=torch.uint8)))
    assert all(module.training for module in model.modules())


def test_heads_and_patches_of_a_vision_transformer_are_narrowed() -> None:
    torch.manual_seed(0)
    common = {"channels": 1, "classes": 10, "dropout": 0.0, "mean": [78.0], "deviation": [96.0]}
    model = VisionTransformer(side=16, halvings=1, width=32, depth=2, heads=4, **common)
    images = torch.randint(0, 256, (8, 16, 16, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert prepare(model, HALF, data_of(images)) == []
    embedding, block = model.features[0], model.features[1]
    assert [layer[0].out_channels for layer in embedding.convolutions[:2]] == [8, 16]
    assert (embedding.positions.shape, block.norm.normalized_shape, model.head.in_features) == ((1, 64, 16), (16,), 16)
    assert (block.attention.heads, block.attention.inputs.out_features, block.layers[0].out_features) == (2, 48, 32)
    assert model(images).shape == (8, 10)
