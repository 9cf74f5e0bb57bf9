"""Small networks for images that learn from scratch in minutes on a few cores."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from workers.contract import ENSEMBLE
from workers.training.architectures import PRETRAINED, VIT_TINY
from workers.training.convolutions import ConvNorm
from workers.training.temperature import divide_head
from workers.training.transformers import PatchEmbedding, TransformerBlock


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input, which a 1x1 convolution fits where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3, relu=False)
        changed = stride != 1 or inputs != outputs
        self.shortcut = ConvNorm(inputs, outputs, 1, stride, relu=False) if changed else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        # Each block starts as the identity, which makes the first steps calm.
        nn.init.zeros_(self.second[1].weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.second(self.first(images)) + self.shortcut(images))


class LayeredClassifier(nn.Module):
    """Images [N, H, W, C] on the scale 0 to 255 (uint8 or float) to logits [N, classes].

    Subclasses have `features`, a sequence; `pooled`, which makes [N, F] of what that gives; `dropout` and `head`.
    """

    features: nn.Sequential
    dropout: nn.Dropout
    head: nn.Module

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(deviation, dtype=torch.float32).reshape(1, -1, 1, 1))

    def pooled(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def layers(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The model as a sequence: each entry takes what the one before gave, and is named as its parameters are."""
        first, *others = self.features
        return {
            "features.0": lambda images: first((images.permute(0, 3, 1, 2).float() - self.mean) * self.scale),
            **{f"features.{number}": block for number, block in enumerate(others, 1)},
            "head": lambda features: self.head(self.dropout(self.pooled(features))),
        }

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.layers().values():
            images = layer(images)
        return images

    def divide_logits(self, temperature: float) -> None:
        """Make the model's certainty fit its accuracy: all logits are divided by `temperature` from now on."""
        divide_head(self.head, temperature)


class ImageClassifier(LayeredClassifier):
    """A residual network."""

    def __init__(
        self, *, channels: int, classes: int, widths: Sequence[int], blocks: int, stem_stride: int, dropout: float,
        mean: Sequence[float], deviation: Sequence[float],
    ) -> None:  # fmt: skip
        super().__init__(mean, deviation)
        layers: list[nn.Module] = [ConvNorm(channels, widths[0], 3, stem_stride)]
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(ResidualBlock(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, classes)

    def pooled(self, features: Tensor) -> Tensor:
        return self.pool(features).flatten(1)


class VisionTransformer(LayeredClassifier):
    """A vision transformer (Dosovitskiy et al. 2021) for small images: convolutions make the patches, positions are
    learned, and the mean of all patches stands in the place of a class token."""

    def __init__(
        self, *, channels: int, classes: int, side: int, halvings: int, width: int, depth: int, heads: int,
        dropout: float, mean: Sequence[float], deviation: Sequence[float],
    ) -> None:  # fmt: skip
        super().__init__(mean, deviation)
        blocks = [TransformerBlock(width, heads) for _ in range(depth)]
        self.features = nn.Sequential(PatchEmbedding(channels, side, halvings, width), *blocks, nn.LayerNorm(width))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def pooled(self, features: Tensor) -> Tensor:
        return features.mean(dim=1)


class ImageEnsemble(nn.Module):
    """Several classifiers of the same classes as one: what comes out, [N, classes], is the logarithm of the mean of
    their probabilities, so that it can stand wherever a classifier's logits do."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        logarithms = [member(images).log_softmax(dim=1) for member in self.members]
        return torch.stack(logarithms).logsumexp(dim=0) - math.log(len(logarithms))


def build_classifier(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The untrained classifier that a meta.json describes. Raises KeyError and TypeError where it describes none."""
    if architecture == ENSEMBLE:
        members = arguments["members"]
        return ImageEnsemble([build_classifier(item["architecture"], item["architecture_args"]) for item in members])
    if architecture == PRETRAINED:
        return importlib.import_module("workers.training.pretrained.images").PretrainedImage(**arguments)
    return (VisionTransformer if architecture == VIT_TINY else ImageClassifier)(**arguments)


class ImageProbabilities(nn.Module):
    """A trained classifier as it is served: uint8 images [N, H, W, C] to probabilities [N, classes]."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = deepcopy(classifier).eval()
        for module in list(self.classifier.modules()):
            if isinstance(module, ConvNorm):
                module.fuse()

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(image).softmax(dim=1)


class LabelProbabilities(ImageProbabilities):
    """The same where an image may have several labels: each has a probability of its own."""

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(image).sigmoid()
