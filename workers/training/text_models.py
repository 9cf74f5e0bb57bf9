"""Networks for texts that learn from scratch in minutes on a few cores. All take ids [N, L], 0 being padding, and what
they answer does not depend on how much padding there is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from workers.texts import PADDING, PRETRAINED
from workers.training.temperature import divide_head

SPREAD = 0.1  # standard deviation of embeddings before training
LEAST = 1e-6
VERY_LOW = -1e4


class TextClassifier(nn.Module):
    """Ids [N, L] to logits [N, classes]: what `features` makes of a text, and a linear head on it."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def features(self, ids: Tensor) -> Tensor:
        """[N, width]"""
        raise NotImplementedError

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(ids)))

    def weigh(self, weights: Tensor) -> None:
        """Take over how much each id counts [buckets]; those that count nothing are as if they were not there."""
        self.weights.copy_(weights)

    def divide_logits(self, temperature: float) -> None:
        """Make the model's certainty fit its accuracy: all logits are divided by `temperature` from now on."""
        divide_head(self.head, temperature)


def make_embedding(buckets: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(buckets, width)
    nn.init.normal_(embedding.weight, std=SPREAD)
    return embedding


class WeightedBag(nn.Module):
    """The weighted sum of the embeddings of a bag of ids: [N, L] and their weights [N, L] to [N, width]."""

    def __init__(self, buckets: int, width: int) -> None:
        super().__init__()
        self.embedding = make_embedding(buckets, width)
        self.is_plain = False

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        if self.is_plain:
            return (weights.unsqueeze(1) @ self.embedding(ids)).squeeze(1)
        return F.embedding_bag(ids, self.embedding.weight, per_sample_weights=weights, mode="sum")

    def fuse(self) -> None:
        """For inference: operators that every ONNX runtime has, in place of the one that trains fastest."""
        self.is_plain = True


class HashedNgrams(TextClassifier):
    """A bag of words and one of runs of characters: their embeddings, weighed by inverse document frequency to a vector
    of length 1 in each bag, are added up. (fastText, Joulin et al. 2017, with the weights of TF-IDF. In one bag the
    many runs of characters would drown the few words.)"""

    def __init__(self, *, word_buckets: int, run_buckets: int, width: int, classes: int, dropout: float) -> None:
        super().__init__(width, classes, dropout)
        self.word_buckets = word_buckets
        self.register_buffer("weights", torch.ones(1 + word_buckets + run_buckets))
        self.bag = WeightedBag(1 + word_buckets + run_buckets, width)

    def features(self, ids: Tensor) -> Tensor:
        return self.bag(ids, self.dropout(bag_weights(ids, self.weights, self.word_buckets)))


def bag_weights(ids: Tensor, weights: Tensor, word_buckets: int) -> Tensor:
    """How much each id of the bags [N, L] counts, by the weights [buckets] of all: words and runs to length 1 each."""
    found = F.embedding(ids, weights.unsqueeze(1)).squeeze(2)
    words = torch.where(ids <= word_buckets, found, 0.0)
    return of_length_one(words) + of_length_one(found - words)


def of_length_one(weights: Tensor) -> Tensor:
    return weights / weights.square().sum(dim=1, keepdim=True).sqrt().clamp(min=LEAST)


class SequenceClassifier(TextClassifier):
    """Words in their order. A word that training never shows is like any other such word, and in training words are
    left out at random, so that the model learns to do without."""

    def __init__(
        self, *, buckets: int, width: int, encoded: int, classes: int, dropout: float, word_dropout: float
    ) -> None:
        super().__init__(2 * encoded, classes, dropout)
        self.register_buffer("weights", torch.ones(buckets))
        self.embedding = make_embedding(buckets, width)
        self.word_dropout = word_dropout

    def encode(self, words: Tensor, is_word: Tensor) -> Tensor:
        """[N, L, width] of the embedded words and where there are words [N, L], to [N, L, encoded]."""
        raise NotImplementedError

    def features(self, ids: Tensor) -> Tensor:
        """The mean and the highest value over all words, side by side."""
        is_word = ids != PADDING
        known = F.embedding(ids, self.weights.unsqueeze(1))
        if self.training:
            known = known * (torch.rand_like(known) >= self.word_dropout)
        encoded = self.encode(self.dropout(self.embedding(ids) * known), is_word)
        shown = is_word.unsqueeze(2)
        mean = (encoded * shown).sum(dim=1) / shown.long().sum(dim=1).clamp(min=1)
        highest = encoded.masked_fill(~shown, VERY_LOW).amax(dim=1).clamp(min=VERY_LOW / 2)
        return torch.cat([mean, highest], dim=1)


class Reader(nn.Module):
    """A gated recurrent unit that goes through the words [N, L, width] of each text and stops where it ends."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unit = nn.GRU(width, width, batch_first=True)
        self.is_plain = False

    def forward(self, words: Tensor, is_word: Tensor) -> Tensor:
        """[N, L, width]; what stands behind the last word means nothing."""
        if self.is_plain:
            return self.unit(words)[0]
        lengths = is_word.sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.unit(packed)[0], batch_first=True, total_length=words.shape[1])[0]

    def fuse(self) -> None:
        """For inference: read the padding too, which changes no answer, in place of an operator that saves the time."""
        self.is_plain = True


class TextGru(SequenceClassifier):
    """Read from both ends by a gated recurrent unit each (Cho et al. 2014)."""

    def __init__(self, *, width: int, **arguments: Any) -> None:
        super().__init__(width=width, encoded=2 * width, **arguments)
        self.forwards, self.backwards = Reader(width), Reader(width)

    def encode(self, words: Tensor, is_word: Tensor) -> Tensor:
        order = reversed_order(is_word)
        backwards = self.backwards(take_in_order(words, order), is_word)
        return torch.cat([self.forwards(words, is_word), take_in_order(backwards, order)], dim=2)


def reversed_order(is_word: Tensor) -> Tensor:
    """[N, L]: the places of each row's words, which stand in front, from last to first; padding stays behind."""
    places = torch.ones_like(is_word, dtype=torch.long).cumsum(dim=1) - 1
    last = is_word.long().sum(dim=1, keepdim=True) - 1
    return torch.where(is_word, last - places, places)


def take_in_order(rows: Tensor, order: Tensor) -> Tensor:
    return rows.gather(1, order.unsqueeze(2).expand(-1, -1, rows.shape[2]))


class TransformerBlock(nn.Module):
    """Attention and a feed-forward network, each added to its normalised input (Xiong et al. 2020: pre-norm)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """`mask` [N, 1, 1, L] is added to what is attended to."""
        words = words + self.dropout(self._attend(self.norm_attention(words), mask))
        return words + self.dropout(self.narrow(self.dropout(F.gelu(self.widen(self.norm_forward(words))))))

    def _attend(self, words: Tensor, mask: Tensor) -> Tensor:
        parts = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.mix(words).chunk(3, dim=2)]
        mixed = F.scaled_dot_product_attention(*parts, attn_mask=mask)
        return self.join(mixed.transpose(1, 2).flatten(2))


class TextTransformer(SequenceClassifier):
    """A small encoder with learned positions (Vaswani et al. 2017)."""

    def __init__(self, *, width: int, heads: int, blocks: int, tokens: int, dropout: float, **arguments: Any) -> None:
        super().__init__(width=width, encoded=width, dropout=dropout, **arguments)
        self.positions = nn.Parameter(torch.randn(tokens, width) * SPREAD)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads, dropout) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)

    def encode(self, words: Tensor, is_word: Tensor) -> Tensor:
        mask = torch.where(is_word, 0.0, VERY_LOW)[:, None, None, :]
        words = words + self.positions[: words.shape[1]]
        for block in self.blocks:
            words = block(words, mask)
        return self.norm(words)


class TextBlend(nn.Module):
    """A bag of n-grams and a recurrent network that reads the words in order, whose logits are averaged.

    In training every other text of a batch is for the one and the rest for the other. So they learn apart, as members
    of an ensemble do, and an epoch takes half as long as it would for both. (Trained on the mean of their answers, the
    bag soon knows the training texts by heart, and the other learns little.) Without `gru` it is the bag alone.
    """

    def __init__(self, *, order_buckets: int, ngrams: Mapping[str, Any], gru: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.order_buckets = order_buckets
        self.ngrams, self.gru = HashedNgrams(**ngrams), TextGru(**gru) if gru else None

    def forward(self, ids: Tensor) -> Tensor:
        if self.gru is None:
            return self.ngrams(self._bag(ids))
        if self.training:
            return self._divided(ids)
        return (self.ngrams(self._bag(ids)) + self.gru(self._words(ids))) / 2

    def _divided(self, ids: Tensor) -> Tensor:
        logits = self.ngrams(self._bag(ids[::2]))
        if len(ids) == 1:
            return logits
        both = logits.new_empty(len(ids), logits.shape[1])
        both[::2], both[1::2] = logits, self.gru(self._words(ids[1::2]))
        return both

    def _bag(self, ids: Tensor) -> Tensor:
        return (ids - self.order_buckets).clamp(min=PADDING)

    def _words(self, ids: Tensor) -> Tensor:
        """The words stand in front; what only the bag needs is cut off."""
        is_word = (ids != PADDING) & (ids <= self.order_buckets)
        longest = is_word.long().sum(dim=1).max().clamp(min=1)
        return torch.where(is_word, ids, PADDING)[:, :longest]

    def weigh(self, weights: Tensor) -> None:
        ordered, bag = weights[: self.order_buckets + 1], weights[self.order_buckets :].clone()
        bag[PADDING] = 0
        self.ngrams.weigh(bag)
        if self.gru is not None:
            self.gru.weigh(ordered)

    def divide_logits(self, temperature: float) -> None:
        for part in filter(None, (self.ngrams, self.gru)):
            part.divide_logits(temperature)


NETWORKS = {"hashed_ngrams": HashedNgrams, "text_gru": TextGru, "text_transformer": TextTransformer, "blend": TextBlend}


def build_text_classifier(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The untrained classifier that a meta.json describes. Raises KeyError and TypeError where it describes none."""
    if architecture == PRETRAINED:
        return importlib.import_module("workers.training.pretrained.texts").PretrainedText(**arguments)
    return NETWORKS[architecture](**arguments)


class TextProbabilities(nn.Module):
    """A trained classifier as it is served: int32 ids [N, L] to probabilities [N, classes]."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = deepcopy(classifier).eval()
        for module in list(self.classifier.modules()):
            if isinstance(module, WeightedBag | Reader):
                module.fuse()

    def forward(self, ids: Tensor) -> Tensor:
        return self.classifier(ids).softmax(dim=1)
