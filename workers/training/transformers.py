"""The parts of a vision transformer."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from workers.training.architectures import EXPANSION
from workers.training.convolutions import ConvNorm


class PatchEmbedding(nn.Module):
    """Images [N, C, side, side] to tokens [N, T, width], one for each 2^halvings x 2^halvings pixels.

    Convolutions halve the image and double the channels (Xiao et al. 2021, "Early Convolutions Help Transformers See
    Better"), which learns from far fewer images than cutting it into patches at once.
    """

    def __init__(self, channels: int, side: int, halvings: int, width: int) -> None:
        super().__init__()
        widths = [width >> (halvings - number) for number in range(halvings + 1)]
        layers = [ConvNorm(channels, widths[0], 3)]
        layers += [ConvNorm(inputs, outputs, 3, 2) for inputs, outputs in pairwise(widths)]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(width, width, 1))
        for _ in range(halvings):
            side = math.ceil(side / 2)
        self.positions = nn.Parameter(torch.randn(1, side**2, width) * 0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolutions(images).flatten(2).transpose(1, 2) + self.positions


class SelfAttention(nn.Module):
    """Tokens [N, T, width] to tokens of the same shape; all look at all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.inputs(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)  # each [N, heads, T, width / heads]
        return self.output(scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention and two layers, each added to its normalised input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), SelfAttention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Linear(EXPANSION * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.layers(self.norm(tokens))
