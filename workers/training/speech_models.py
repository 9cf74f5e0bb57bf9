"""A network that says of each moment of a recording which character is spoken: a Conformer (Gulati et al. 2020,
"Conformer: Convolution-augmented Transformer for Speech Recognition") over a spectrogram that convolutions have made
shorter.

Spectrograms are uint8 [N, T, bands] of `lengths` [N] frames each, with anything behind them: what the network answers
does not depend on it. Order is known from the convolutions alone, so that a recording may be longer than any that was
learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.inference.ctc import BLANK, STEP
from workers.training.losses import SILENT
from workers.training.translation_models import VERY_LOW, Attention

STEM_CHANNELS = 32
STRIDES = ((STEP, 2), (1, 2))  # in time and in pitch, of each convolution
EXPANSION = 4


def _kept(lengths: Tensor, frames: int) -> Tensor:
    """[N, frames]: whether a frame is part of the recording."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


class Subsampling(nn.Module):
    """[N, T, bands] to [N, T / STEP, width]."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        first, second = STRIDES
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(1, STEM_CHANNELS, 3, first, padding=1),
                nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, second, padding=1),
            ]
        )
        self.output = nn.Linear(STEM_CHANNELS * bands // (first[1] * second[1]), width)

    def forward(self, sounds: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        found = sounds[:, None]
        for convolution in self.convolutions:
            step = convolution.stride[0]
            lengths = (lengths + step - 1) // step
            found = F.silu(convolution(found))
            found = found * _kept(lengths, found.shape[2])[:, None, :, None]
        return self.output(found.transpose(1, 2).flatten(2)), lengths


class FeedForward(nn.Sequential):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, EXPANSION * width), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(EXPANSION * width, width), nn.Dropout(dropout),
        )  # fmt: skip


class Convolution(nn.Module):
    """What is near in time: a gate, one convolution for each channel, and a mixture of channels."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.gate = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm_depthwise, self.output = nn.LayerNorm(width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        gated = F.glu(self.gate(self.norm(tokens)), dim=2) * kept
        near = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.output(F.silu(self.norm_depthwise(near))))


class Block(nn.Module):
    """[N, T, width] to the same shape. `kept` [N, T, 1] and `mask` [N, 1, 1, T] hide what is behind a recording."""

    def __init__(self, width: int, heads: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = FeedForward(width, dropout), FeedForward(width, dropout)
        self.norm_attention, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.convolution = Convolution(width, kernel, dropout)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, tokens: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
        tokens = tokens + 0.5 * self.first(tokens)
        normed = self.norm_attention(tokens)
        attended = self.attention(normed, *self.attention.remember(normed), mask)
        tokens = tokens + self.dropout(attended)
        tokens = tokens + self.convolution(tokens, kept)
        return self.norm(tokens + 0.5 * self.second(tokens))


class SpeechNetwork(nn.Module):
    """`mean` and `deviation` [bands] are those of what is learned from, in the spectrogram's own numbers."""

    def __init__(
        self, *, outputs: int, width: int, heads: int, blocks: int, kernel: int, dropout: float,
        mean: Sequence[float], deviation: Sequence[float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32), persistent=False)
        self.subsampling, self.dropout = Subsampling(len(mean), width), nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, kernel, dropout) for _ in range(blocks))
        self.head = nn.Linear(width, outputs)

    def forward(self, spectrograms: Tensor, lengths: Tensor) -> Tensor:
        """Logits [N, T / STEP, outputs]. Behind a recording's end they say nothing but the blank, so that neither its
        loss nor its text depends on what is there."""
        sounds = (spectrograms.float() - self.mean) / self.deviation
        sounds = sounds * _kept(lengths, sounds.shape[1])[:, :, None]
        tokens, lengths = self.subsampling(sounds, lengths)
        kept = _kept(lengths, tokens.shape[1])
        tokens, mask = self.dropout(tokens), torch.where(kept, 0.0, VERY_LOW)[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, kept[:, :, None].to(tokens.dtype), mask.to(tokens.dtype))
        logits = self.head(tokens)
        silent = torch.full_like(logits[:1, :1], SILENT)
        silent[..., BLANK] = 0.0
        return torch.where(kept[:, :, None], logits, silent)


class Probabilities(nn.Module):
    """What is exported: the probability [N, T / STEP, outputs] of each character."""

    def __init__(self, network: SpeechNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, spectrogram: Tensor, length: Tensor) -> Tensor:
        return self.network(spectrogram, length).softmax(dim=2)


def build_network(arguments: Mapping[str, Any]) -> SpeechNetwork:
    """The untrained network that a meta.json describes. Raises TypeError where it describes none."""
    return SpeechNetwork(**arguments)
