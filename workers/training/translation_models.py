"""A transformer that reads one sentence and writes another (Vaswani et al. 2017, "Attention Is All You Need"), with
normalisation before each layer (Xiong et al. 2020). Ids are [N, S] to read and [N, T] to write, 0 being padding; what
it answers does not depend on how much padding there is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workers.subwords import PADDING

VERY_LOW = -1e4
LONGEST_WAVE = 10_000.0


def positions(count: int, width: int) -> Tensor:
    """[count, width]: sines and cosines of wavelengths from 2 pi to 10,000 * 2 pi (Vaswani et al., section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(LONGEST_WAVE) / width))
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class Attention(nn.Module):
    """Queries from one sequence, keys and values from another, or from the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def remember(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [N, heads, L, width / heads] of what may be looked at [N, L, width]."""
        return self._divide(self.key(tokens)), self._divide(self.value(tokens))

    def forward(
        self, tokens: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """[N, T, width] to the same shape; `mask` is added to what is attended to."""
        mixed = F.scaled_dot_product_attention(
            self._divide(self.query(tokens)), keys, values, attn_mask=mask, is_causal=is_causal
        )
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _divide(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width))


class EncoderBlock(nn.Module):
    """Every token looks at all; `mask` [N, 1, 1, S] hides padding."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_forward, self.forward_layers = nn.LayerNorm(width), FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(tokens)
        tokens = tokens + self.dropout(self.attention(normed, *self.attention.remember(normed), mask))
        return tokens + self.dropout(self.forward_layers(self.norm_forward(tokens)))


class DecoderBlock(nn.Module):
    """A token looks at those before it and at the whole source."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_source, self.source_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_forward, self.forward_layers = nn.LayerNorm(width), FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """All tokens [N, T, width] at once, as in training."""
        normed = self.norm(tokens)
        attended = self.attention(normed, *self.attention.remember(normed), is_causal=True)
        return self._read(tokens + self.dropout(attended), *self.source_attention.remember(memory), mask)

    def step(
        self, token: Tensor, past: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], mask: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One token [N, 1, width] after those whose keys and values are `past` [N, heads, T, size]; returns also the
        keys and values of them all."""
        normed = self.norm(token)
        newest = self.attention.remember(normed)
        keys, values = (torch.cat(pair, dim=2) for pair in zip(past, newest, strict=True))
        return self._read(token + self.attention(normed, keys, values), *source, mask), (keys, values)

    def _read(self, tokens: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.source_attention(self.norm_source(tokens), keys, values, mask))
        return tokens + self.dropout(self.forward_layers(self.norm_forward(tokens)))


class Translator(nn.Module):
    """Where `is_shared`, both sides have one table of pieces, and so one embedding. What is written is compared with
    the embedding of each piece (Press and Wolf 2017, "Using the Output Embedding to Improve Language Models")."""

    first_id = 0  # that of the first logit

    def __init__(
        self, *, source_pieces: int, target_pieces: int, is_shared: bool, width: int, heads: int, encoder_blocks: int,
        decoder_blocks: int, dropout: float, longest: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.width, self.longest = width, longest
        self.target_embedding = _embedding(target_pieces, width)
        self.own_source_embedding = None if is_shared else _embedding(source_pieces, width)
        self.encoder = nn.ModuleList([EncoderBlock(width, heads, dropout) for _ in range(encoder_blocks)])
        self.decoder = nn.ModuleList([DecoderBlock(width, heads, dropout) for _ in range(decoder_blocks)])
        self.norm_source, self.norm_target = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("positions", positions(longest + 1, width), persistent=False)

    def forward(self, sources: Tensor, begun: Tensor) -> Tensor:
        """Logits [N, T, pieces] of what follows each token of `begun` [N, T]."""
        memory, mask = self.read(sources)
        tokens = self._embed(self.target_embedding, begun, self.positions[: begun.shape[1]])
        for block in self.decoder:
            tokens = block(tokens, memory, mask)
        return self._logits(tokens)

    def read(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """The source as its words mean in it [N, S, width], and the mask [N, 1, 1, S] that hides padding."""
        mask = torch.where(sources == PADDING, VERY_LOW, 0.0)[:, None, None, :]
        embedding = self.own_source_embedding or self.target_embedding
        tokens = self._embed(embedding, sources, self.positions[: sources.shape[1]])
        for block in self.encoder:
            tokens = block(tokens, mask)
        return self.norm_source(tokens), mask

    def memorise(self, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What every step looks at: keys and values of the source [N, blocks, heads, S, size], and its mask [N, S]."""
        memory, mask = self.read(sources)
        pairs = [block.source_attention.remember(memory) for block in self.decoder]
        keys, values = (torch.stack(items, dim=1) for items in zip(*pairs, strict=True))
        return keys, values, mask[:, 0, 0]

    def step(
        self, tokens: Tensor, past_keys: Tensor, past_values: Tensor, source_keys: Tensor, source_values: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Log-probabilities [N, pieces] of what follows `tokens` [N], and the keys and values [N, blocks, heads, T + 1,
        size] of all that is written."""
        place = self.positions[past_keys.shape[3]]
        written, pairs = self._embed(self.target_embedding, tokens[:, None], place), []
        for number, block in enumerate(self.decoder):
            past, source = (
                (past_keys[:, number], past_values[:, number]),
                (source_keys[:, number], source_values[:, number]),
            )
            written, pair = block.step(written, past, source, mask[:, None, None, :])
            pairs.append(pair)
        keys, values = (torch.stack(items, dim=1) for items in zip(*pairs, strict=True))
        return self._logits(written)[:, 0].log_softmax(dim=1), keys, values

    def _embed(self, embedding: nn.Embedding, ids: Tensor, places: Tensor) -> Tensor:
        return self.dropout(embedding(ids) * math.sqrt(self.width) + places)

    def _logits(self, tokens: Tensor) -> Tensor:
        return F.linear(self.norm_target(tokens), self.target_embedding.weight)


def _embedding(pieces: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(pieces, width)
    nn.init.normal_(embedding.weight, std=width**-0.5)
    return embedding


def build_translator(arguments: Mapping[str, Any]) -> Translator:
    """The untrained network that a meta.json describes. Raises TypeError where it describes none."""
    return Translator(**arguments)


class Reading(nn.Module):
    """The part of a translator that is asked once for each source; see `Translator.memorise`."""

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.translator.memorise(source)


class Writing(nn.Module):
    """The part of a translator that is asked once for each token; see `Translator.step`."""

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, *state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.translator.step(*state)
