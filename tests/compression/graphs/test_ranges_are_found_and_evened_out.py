"""How int8 finds its ranges, and what is done before and after to lose less."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.compression.graphs.networks import Network, ask, image_network, quantised, table_network
from workers.compression.graphs.equalising import Side, equalise
from workers.compression.graphs.reading import read_folded
from workers.training.export import export_onnx

pytestmark = pytest.mark.xdist_group("graphs")


@pytest.mark.parametrize("ranges", ["extremes", "percentile", "entropy"])
def test_every_way_to_find_ranges_answers_nearly_alike(tmp_path, ranges):
    network = image_network(tmp_path)
    target, _notes = quantised(network, ranges=ranges)
    assert np.abs(ask(target, network.feed) - network.expected).max() < 0.08


def test_rare_values_are_cut_off_by_the_percentile_and_not_by_the_extremes(tmp_path):
    """One input in 1,600 is a thousand times larger than the others: its range would leave these one step."""
    network = table_network(tmp_path)
    network.feed["numeric"][0, 5] = 1000.0
    usual = {"numeric": network.feed["numeric"][32:]}
    errors = {}
    for ranges in ("extremes", "percentile"):
        target, _notes = quantised(network, ranges=ranges)
        errors[ranges] = np.abs(ask(target, usual) - ask(network.path, usual)).mean()
    assert errors["percentile"] < errors["extremes"]


class Uneven(nn.Module):
    """Two layers whose channels differ in range by up to a thousand times, as weights do after folding."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 8, 3), nn.Flatten())
        self.head = nn.Linear(8 * 6 * 6, 4)
        factors = torch.logspace(-1.5, 1.5, 32)
        with torch.no_grad():
            self.layers[0].weight *= factors.reshape(-1, 1, 1, 1)
            self.layers[0].bias *= factors
            self.layers[2].weight /= factors.reshape(1, -1, 1, 1)

    def forward(self, image):
        return (6 * self.head(self.layers(image))).softmax(dim=1)


@pytest.fixture
def uneven(tmp_path) -> Network:
    torch.manual_seed(0)
    images = torch.randn(64, 3, 8, 8)
    export_onnx(Uneven(), {"image": images}, "answer", tmp_path / "exact.onnx")
    return Network(tmp_path / "exact.onnx", {"image": images.numpy()})


def test_equalising_changes_no_answer_and_evens_out_the_ranges(uneven, tmp_path):
    graph = read_folded(uneven.path)
    first, second, _head = graph.layers()

    def unevenness() -> float:
        ours, theirs = Side(first, 0).ranges(graph), Side(second, 1).ranges(graph)
        return float(np.abs(np.log(ours / theirs)).max())

    before = unevenness()
    assert equalise(graph) == 1
    assert unevenness() < 0.01 < before
    onnx.save(graph.model, tmp_path / "even.onnx")
    assert np.abs(ask(tmp_path / "even.onnx", uneven.feed) - uneven.expected).max() < 1e-4


def test_an_uneven_network_loses_less_when_it_is_evened_out(uneven):
    errors = {}
    for choice in (False, True):
        target, notes = quantised(uneven, equalise=choice)
        assert notes == ["The ranges of 1 pair of layers were evened out."] * choice
        errors[choice] = np.abs(ask(target, uneven.feed) - uneven.expected).mean()
    assert errors[True] < errors[False] / 2


def test_layers_that_several_others_read_are_left_alone(tmp_path):
    """In a residual network only the pairs inside a block may be changed."""
    network = image_network(tmp_path)
    graph = read_folded(network.path)
    assert equalise(graph) == 3
    onnx.save(graph.model, tmp_path / "even.onnx")
    assert np.abs(ask(tmp_path / "even.onnx", network.feed) - network.expected).max() < 1e-4


def last_layer(path) -> str:
    """The name of what goes into the softmax."""
    return next(node.input[0] for node in onnx.load(path).graph.node if node.op_type == "Softmax")


def mean_logits(path, network: Network, name: str) -> np.ndarray:
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    del model.graph.output[0]
    opened = path.with_name("opened.onnx")
    onnx.save(model, opened)
    return np.mean([ask(opened, feed)[0] for feed in network.feeds], axis=0)


def test_correcting_the_bias_takes_out_what_rounding_moved_on_average(uneven):
    exact = mean_logits(uneven.path, uneven, last_layer(uneven.path))
    moved = {}
    for choice in (False, True):
        target, _notes = quantised(uneven, correct_bias=choice)
        moved[choice] = np.abs(mean_logits(target, uneven, last_layer(target)) - exact).max()
    assert moved[True] < moved[False] / 3
