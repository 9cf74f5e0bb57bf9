"""A pretrained model that reads one sequence and writes another, as something that learns, and that is exported as two
graphs: one that reads, and one that writes token by token with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from workers.pretrained.pieces import SHIFT
from workers.texts import PADDING

HIDDEN = -1e9  # added to what must not be looked at


class Seq2Seq(nn.Module):
    """Ids are the checkpoint's plus one (workers/pretrained/pieces.py), and so are the places of `step`'s scores; the
    logits of `forward` begin with the checkpoint's first id. `prompt` are the ids that every text begins with."""

    first_id = SHIFT  # that of the first logit

    def __init__(self, body: nn.Module, prompt: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        self.prompt = tuple(prompt)
        padding = body.config.pad_token_id
        self.padding = 0 if padding is None else padding  # hidden, so that any id will do

    def forward(self, sources: Tensor, begun: Tensor) -> Tensor:
        """Logits [N, T, V] of what follows each id of `begun` [N, T], whose first stands for the prompt."""
        mask = (sources != PADDING).long()
        prompt = begun.new_tensor(self.prompt).expand(len(begun), -1)
        logits = self.body(
            input_ids=self._own(sources),
            attention_mask=mask,
            decoder_input_ids=self._own(torch.cat([prompt, begun[:, 1:]], dim=1)),
            use_cache=False,
        ).logits
        return logits[:, len(self.prompt) - 1 :]

    def read(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """The source as its words mean in it [N, S, width], and the mask [N, S] that hides padding."""
        mask = torch.where(sources == PADDING, HIDDEN, 0.0)
        states = self.body.get_encoder()(input_ids=self._own(sources), attention_mask=mask[:, None, None, :])
        return states.last_hidden_state, mask

    def memorise(self, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What every step looks at: keys and values of the source [N, blocks, heads, S, size], and its mask [N, S]."""
        states, mask = self.read(sources)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        first = torch.full_like(states[:, :1, 0], self.prompt[0] - SHIFT, dtype=torch.long)
        self._write(first, states, mask, torch.zeros_like(mask[:, :1]), cache)
        return *_stacked(cache.cross_attention_cache), mask

    def step(
        self, tokens: Tensor, past_keys: Tensor, past_values: Tensor, source_keys: Tensor, source_values: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Log-probabilities [N, 1 + V] of what follows `tokens` [N], and the keys and values [N, blocks, heads, T + 1,
        size] of all that is written. Padding is as improbable as what is most improbable."""
        cache = EncoderDecoderCache(_cache_of(past_keys, past_values), _cache_of(source_keys, source_values))
        for block in range(source_keys.shape[1]):
            cache.is_updated[block] = True
        written = torch.cat([past_keys[:, 0, 0, :, 0], past_keys.new_zeros(tokens.shape[0], 1)], dim=1)
        states = source_keys[:, 0, 0]  # read no more, beyond how many there are
        logits = self._write((tokens - SHIFT)[:, None], states, mask, torch.zeros_like(written), cache)
        scores = logits[:, -1].log_softmax(dim=1)
        scores = torch.cat([scores.amin(dim=1, keepdim=True), scores], dim=1)
        return scores, *_stacked(cache.self_attention_cache)

    def _write(
        self, tokens: Tensor, states: Tensor, mask: Tensor, own_mask: Tensor, cache: EncoderDecoderCache
    ) -> Tensor:
        """Masks [N, S] and [N, T] are given in the form that attention adds, so that a graph knows no lengths."""
        return self.body(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask[:, None, None, :],
            decoder_input_ids=tokens,
            decoder_attention_mask=own_mask[:, None, None, :],
            cache=cache,
            use_cache=True,
        ).logits

    def _own(self, ids: Tensor) -> Tensor:
        return torch.where(ids == PADDING, self.padding, ids - SHIFT).long()


def _cache_of(keys: Tensor, values: Tensor) -> DynamicCache:
    cache = DynamicCache()
    for block in range(keys.shape[1]):
        cache.update(keys[:, block], values[:, block], block)
    return cache


def _stacked(cache: DynamicCache) -> tuple[Tensor, Tensor]:
    keys, values = ([getattr(layer, name) for layer in cache.layers] for name in ("keys", "values"))
    return torch.stack(keys, dim=1), torch.stack(values, dim=1)
