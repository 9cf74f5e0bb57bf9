"""What normalises pictures goes into the first layer: the int8 graph takes the picture itself."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.compression.graphs.networks import Network, ask, image_network, pictures, quantised
from workers.compression.graphs.normalising import fold_normalisation
from workers.compression.graphs.reading import read_folded
from workers.training.export import export_onnx

ARITHMETIC = {"Cast", "Sub", "Mul", "Div", "QuantizeLinear"}


def folded(network: Network) -> tuple[np.ndarray, list]:
    """The answers of the graph in 32 bits with its normalisation folded, and what was folded."""
    graph = read_folded(network.path)
    found = fold_normalisation(graph)
    target = network.path.with_name("folded.onnx")
    onnx.save(graph.model, target)
    return ask(target, network.feed), found


def kinds(path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("means", [(93.4,), (90.2, 96.0, 88.5), (120.0, 60.0, 90.0), (250.0, 3.0, 90.0)])
def test_folding_changes_hardly_an_answer_whatever_the_means_of_the_channels(tmp_path, means):
    network = image_network(tmp_path, means)
    answers, found = folded(network)
    assert len(found) == 1
    assert np.abs(answers - network.expected).max() < 0.02


def test_the_quantised_graph_makes_no_32_bit_numbers_of_pixels(tmp_path):
    target, _notes = quantised(image_network(tmp_path, (90.0, 92.0, 88.0)))
    nodes = onnx.load(target).graph.node
    first = next(node for node in nodes if node.op_type == "Conv")
    before = nodes[: list(nodes).index(first)]
    assert not ARITHMETIC & {node.op_type for node in before} and "Pad" not in kinds(target)


def test_means_that_lie_far_apart_get_a_channel_that_makes_up_for_them(tmp_path):
    network = image_network(tmp_path, (150.0, 40.0, 90.0))
    target, _notes = quantised(network)
    assert "Pad" in kinds(target) and not {"Sub", "Mul"} & kinds(target)
    assert np.abs(ask(target, network.feed) - network.expected).max() < 0.06


class Other(nn.Module):
    """Pictures that are not normalised by constants, or straight into a product."""

    def __init__(self, is_by_content: bool) -> None:
        super().__init__()
        self.is_by_content = is_by_content
        self.head = nn.Linear(16 * 16, 4)

    def forward(self, image):
        pixels = image.flatten(1).float()
        if self.is_by_content:
            pixels = pixels - pixels.mean(dim=1, keepdim=True)
        return (self.head(pixels / 60 - 1.5)).softmax(dim=1)


def other_network(folder, is_by_content: bool) -> Network:
    torch.manual_seed(1)
    images = pictures(1)
    export_onnx(Other(is_by_content), {"image": images}, "answer", folder / "exact.onnx")
    return Network(folder / "exact.onnx", {"image": images.numpy()})


def test_a_product_without_padding_takes_it_exactly(tmp_path):
    network = other_network(tmp_path, is_by_content=False)
    answers, found = folded(network)
    assert len(found) == 1 and np.abs(answers - network.expected).max() < 1e-5


def test_a_normalisation_that_depends_on_the_picture_stays(tmp_path):
    network = other_network(tmp_path, is_by_content=True)
    answers, found = folded(network)
    assert found == [] and np.abs(answers - network.expected).max() < 1e-6
    assert np.abs(ask(quantised(network)[0], network.feed) - network.expected).max() < 0.06
