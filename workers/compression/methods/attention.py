"""Multi-head attention whose heads can be removed one by one.

torch's nn.MultiheadAttention ties the width of its heads to the width of what comes in, so that no head can go
without all layers around it becoming narrower too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from workers.compression.methods.base import replace


class Attention(nn.Module):
    """Stands for an nn.MultiheadAttention and answers the same, called the same.

    `inputs` [3 * heads * head_size, width] makes queries, keys and values, each head after head; `output` takes what
    all heads give. It answers (values, None): the weights of the attention are never given.
    """

    # nn.TransformerEncoderLayer asks for these before it takes a short way past its submodules, which it must not.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(
        self, width: int, heads: int, head_size: int, *, bias: bool, dropout: float, batch_first: bool
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.batch_first = heads, dropout, batch_first
        self.inputs = nn.Linear(width, 3 * heads * head_size, bias=bias)
        self.output = nn.Linear(heads * head_size, width, bias=bias)

    @classmethod
    @torch.no_grad()
    def of(cls, plain: nn.MultiheadAttention) -> Attention:
        opened = cls(
            plain.embed_dim, plain.num_heads, plain.head_dim,
            bias=plain.in_proj_bias is not None, dropout=plain.dropout, batch_first=plain.batch_first,
        ).to(plain.in_proj_weight.device)  # fmt: skip
        opened.inputs.weight.copy_(plain.in_proj_weight)
        opened.output.weight.copy_(plain.out_proj.weight)
        if plain.in_proj_bias is not None:
            opened.inputs.bias.copy_(plain.in_proj_bias)
            opened.output.bias.copy_(plain.out_proj.bias)
        return opened

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = False, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:  # fmt: skip
        """As nn.MultiheadAttention, of batches [N, T, width] or [T, N, width] as `batch_first` says."""
        if query is key and key is value:
            parts = self.inputs(query).chunk(3, dim=-1)
        else:
            parts = tuple(self.inputs(item).chunk(3, dim=-1)[place] for place, item in enumerate((query, key, value)))
        queries, keys, values = (self._by_head(part) for part in parts)
        mask = _joined_mask(key_padding_mask, attn_mask, queries)
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
        mixed = mixed.transpose(1, 2).flatten(2)  # [N, T, heads * head_size]
        return self.output(mixed if self.batch_first else mixed.transpose(0, 1)), None

    def _by_head(self, values: Tensor) -> Tensor:
        """To [N, heads, T, head_size]."""
        values = values if self.batch_first else values.transpose(0, 1)
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _joined_mask(padding: Tensor | None, mask: Tensor | None, queries: Tensor) -> Tensor | None:
    """What is added to the scores [N, heads, T, S]; in `padding` [N, S] and `mask` True means: not to be seen."""
    if mask is not None:
        mask = _additive(mask, queries)
        if mask.ndim == 3:  # [N * heads, T, S]
            mask = mask.unflatten(0, (queries.shape[0], -1))
    if padding is None:
        return mask
    padding = _additive(padding, queries)[:, None, None, :]
    return padding if mask is None else mask + padding


def _additive(mask: Tensor, queries: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(queries.dtype)
    return torch.zeros_like(mask, dtype=queries.dtype).masked_fill(mask, -torch.inf)


def open_attention(model: nn.Module) -> None:
    """Put an `Attention` in the place of every nn.MultiheadAttention that one can stand for, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.MultiheadAttention) and is_plain(module):
            replace(model, name, Attention.of(module))


def is_plain(module: nn.MultiheadAttention) -> bool:
    return module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn
