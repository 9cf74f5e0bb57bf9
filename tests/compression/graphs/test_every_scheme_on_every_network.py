"""Each way to quantise makes each kind of network smaller, and leaves it answering nearly as it did."""

import numpy as np
import onnx
import pytest

from tests.compression.graphs.networks import NETWORKS, Network, ask, quantised
from workers.compression.graphs import quantise_graph
from workers.contract import ProgramFailure

pytestmark = pytest.mark.xdist_group("graphs")

# How many times smaller at least, and how far any probability may move at most: 4 bits are coarse for networks that
# were not trained on.
SCHEMES = {
    "int8": (2.6, 0.06),
    "int8_dynamic": (2.6, 0.06),
    "int8_weights": (2.6, 0.02),
    "int4_weights": (4.0, 0.25),
    "fp16": (1.8, 0.003),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory) -> Network:
    return NETWORKS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_file_is_smaller_and_loads_alone_and_answers_nearly_alike(network, scheme):
    times, tolerance = SCHEMES[scheme]
    target, _notes = quantised(network, scheme=scheme)
    assert target.stat().st_size < network.path.stat().st_size / times
    answers = ask(target, network.feed)
    assert np.abs(answers - network.expected).max() < tolerance
    assert (answers.argmax(axis=1) == network.expected.argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_input_alone_is_answered_as_among_others(network, scheme):
    target, _notes = quantised(network, scheme=scheme)
    one = {name: values[:1] for name, values in network.feed.items()}
    # What is rounded at run time is rounded by the range of all inputs that are asked together.
    tolerance = 0.05 if scheme == "int8_dynamic" else 1e-4
    assert np.abs(ask(target, one) - ask(target, network.feed)[:1]).max() < tolerance


@pytest.mark.parametrize("scheme", SCHEMES)
def test_inputs_and_outputs_keep_their_names_and_types_and_probabilities_sum_to_one(network, scheme):
    target, _notes = quantised(network, scheme=scheme)
    before, after = (onnx.load(path).graph for path in (network.path, target))
    for side in ("input", "output"):
        told = [
            {item.name: item.type.tensor_type.elem_type for item in getattr(graph, side)} for graph in (before, after)
        ]
        assert told[0] == told[1]
    assert np.abs(ask(target, network.feed).sum(axis=1) - 1).max() < 1e-5


def test_the_numbers_that_become_probabilities_are_not_rounded(tmp_path):
    for make in NETWORKS.values():
        nodes = onnx.load(quantised(make(tmp_path))[0]).graph.node
        makers = {name: node.op_type for node in nodes for name in node.output}
        softmax = [node for node in nodes if node.op_type == "Softmax"][-1]
        assert makers[softmax.input[0]] != "DequantizeLinear"


def test_what_is_stored_in_8_bits_and_computed_in_32_is_named(tmp_path):
    assert quantised(NETWORKS["recurrent"](tmp_path))[1] == [
        "GRU: 6,240 weights are stored in 8 bits and computed with in 32."
    ]
    assert quantised(NETWORKS["attention"](tmp_path))[1] == [
        "Gather: 9,600 weights are stored in 8 bits and computed with in 32."
    ]
    (note,) = quantised(NETWORKS["image"](tmp_path), scheme="int8_dynamic")[1]
    assert note.startswith("Conv: ") and note.endswith("weights are stored in 8 bits and computed with in 32.")
    assert quantised(NETWORKS["image"](tmp_path))[1] == []


def test_weights_that_are_not_finite_are_left_and_named(tmp_path):
    network = NETWORKS["table"](tmp_path)
    model = onnx.load(network.path)
    broken = next(item for item in model.graph.initializer if list(item.dims) == [256, 256])
    values = onnx.numpy_helper.to_array(broken).copy()
    values[0, 0] = np.inf
    broken.CopyFrom(onnx.numpy_helper.from_array(values, broken.name))
    onnx.save(model, network.path)
    target, notes = quantised(network, scheme="int8_weights")
    assert "65,536 weights stay 32-bit numbers: not all of them are finite." in notes
    assert target.stat().st_size > 4 * 65_536


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_graph_without_weights_has_nothing_to_compress(tmp_path, scheme):
    nodes = [onnx.helper.make_node("Softmax", ["x"], ["y"])]
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "plain", sides[:1], sides[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "plain.onnx")
    network = Network(tmp_path / "plain.onnx", {"x": np.zeros((64, 3), dtype=np.float32)})
    with pytest.raises(ProgramFailure) as told:
        quantised(network, scheme=scheme)
    assert told.value.code == "nothing_to_compress" and told.value.message.endswith("could make smaller.")


def test_a_damaged_graph_gets_a_sentence(tmp_path):
    network = NETWORKS["table"](tmp_path)
    network.path.write_bytes(network.path.read_bytes()[:500])
    with pytest.raises(ProgramFailure) as told:
        quantise_graph(network.path, tmp_path / "smaller.onnx", [], {"scheme": "int8_weights"})
    assert told.value.code == "damaged_model"
