"""Weights that take one of a few values, and the small file that comes of it."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tests.compression.graphs.networks import Network, ask, attention_network, image_network, quantised
from workers.compression.graphs import share_weights
from workers.compression.graphs.reading import is_weights
from workers.compression.graphs.sharing import cluster
from workers.contract import ProgramFailure
from workers.inference.packing import pack, unpack


def shared(network: Network, values: int, source=None):
    target = network.path.with_name("shared.onnx")
    share_weights(source or network.path, target, values)
    return target


def weights_of(path, *types: int) -> list[np.ndarray]:
    graph = onnx.load(path).graph
    return [onnx.numpy_helper.to_array(item) for item in graph.initializer if is_weights(item, *types)]


def values_in(weights: np.ndarray) -> int:
    """np.unique finds some 16-bit numbers twice, where it sorts them with AVX-512."""
    return len(set(weights.reshape(-1).tolist()))


@pytest.mark.parametrize("make", [image_network, attention_network])
def test_each_layer_keeps_so_many_values_and_the_answers_are_near(tmp_path, make):
    network = make(tmp_path)
    target = shared(network, 32)
    assert all(values_in(weights) <= 32 for weights in weights_of(target))
    assert np.abs(ask(target, network.feed) - network.expected).max() < 0.1


def test_more_values_lose_less(tmp_path):
    network = image_network(tmp_path)
    errors = [np.abs(ask(shared(network, values), network.feed) - network.expected).mean() for values in (4, 16, 64)]
    assert errors == sorted(errors, reverse=True)


def test_packed_it_is_many_times_smaller_and_answers_the_same(tmp_path):
    network = image_network(tmp_path)
    target, packed = shared(network, 16), tmp_path / "packed"
    assert pack(target, packed)
    assert packed.stat().st_size < network.path.stat().st_size / 5
    (tmp_path / "again.onnx").write_bytes(unpack(packed.read_bytes()))
    assert np.array_equal(ask(tmp_path / "again.onnx", network.feed), ask(target, network.feed))


@pytest.mark.parametrize("scheme", ["int8", "fp16"])
def test_weights_that_are_quantised_already_share_theirs(tmp_path, scheme):
    network = image_network(tmp_path)
    kind = {"int8": onnx.TensorProto.INT8, "fp16": onnx.TensorProto.FLOAT16}[scheme]
    target = shared(network, 16, quantised(network, scheme=scheme)[0])
    found = weights_of(target, kind)
    assert len(found) >= 8 and all(values_in(weights) <= 16 for weights in found)
    assert np.abs(ask(target, network.feed) - network.expected).max() < 0.3


def test_removed_weights_stay_zero(tmp_path):
    network = image_network(tmp_path)
    model = onnx.load(network.path)
    for item in model.graph.initializer:
        if is_weights(item):
            weights = onnx.numpy_helper.to_array(item).copy()
            weights[np.abs(weights) < np.quantile(np.abs(weights), 0.7)] = 0
            item.CopyFrom(onnx.numpy_helper.from_array(weights, item.name))
    onnx.save(model, network.path)
    before, after = weights_of(network.path), weights_of(shared(network, 8))
    assert all(np.array_equal(ours == 0, theirs == 0) for ours, theirs in zip(before, after, strict=True))
    assert all(values_in(weights) <= 8 for weights in after)


@given(
    arrays(np.float32, array_shapes(max_side=12), elements=st.floats(-100, 100, width=32)),
    st.integers(2, 20),
)
def test_any_weights_become_at_most_so_many_within_their_range(weights, values):
    found = cluster(weights, values)
    assert found.shape == weights.shape and found.dtype == weights.dtype
    assert values_in(found) <= values
    assert not found[weights == 0].any()
    assert found.min() >= min(0, weights.min()) - 1e-4 and found.max() <= max(0, weights.max()) + 1e-4


def test_a_graph_without_weights_has_nothing_to_share(tmp_path):
    nodes = [onnx.helper.make_node("Softmax", ["x"], ["y"])]
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", sides[:1], sides[1:])), tmp_path / "plain.onnx")
    with pytest.raises(ProgramFailure) as told:
        share_weights(tmp_path / "plain.onnx", tmp_path / "shared.onnx", 16)
    assert told.value.code == "nothing_to_compress"
