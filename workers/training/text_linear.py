"""A logistic regression on a text's n-grams, beside what a network has learned of them.

On few texts hardly anything beats it (Wang and Manning 2012, "Baselines and Bigrams"), and it errs otherwise than what
gradient steps with dropout lead to. It is a sum of vectors too: one for each n-gram, with a number for each class. So
it becomes more columns of the embedding and of the head, and nothing else about the model changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from workers.training.calibration import TEMPERATURES, best_temperature
from workers.training.text_data import Ragged
from workers.training.text_models import HashedNgrams, TextBlend, bag_weights, build_text_classifier
from workers.training.threads import thread_limit

# One over the strength of the L2 penalty; the validation texts choose.
INVERSE_STRENGTHS = (30.0, 300.0, 3000.0)
MOST_WORK = 20_000_000  # features of all training texts, times classes: up to a minute of one core
ITERATIONS = 100
# It is as sure as its training texts make it; that a few held-out ones are all right must not make it surer.
SOBERING = TEMPERATURES[TEMPERATURES >= 1]
LEAST = 1e-6

Sparse = tuple[csr_matrix, np.ndarray]  # features [N, buckets] and labels [N]
Check = Callable[[], None]


@dataclass(frozen=True)
class Regression:
    """Weights [buckets, K] and bias [K], both divided by `temperature`; `strength` is one over that of the penalty."""

    weight: Tensor
    bias: Tensor
    strength: float
    temperature: float

    @classmethod
    def of(cls, texts: Sparse, strength: float, temperature: float, balanced: bool) -> Regression:
        weight, bias = _fit(*texts, strength, balanced)
        return cls(weight / temperature, bias / temperature, strength, temperature)

    def divided(self, temperature: float) -> Regression:
        weight, bias = self.weight / temperature, self.bias / temperature
        return replace(self, weight=weight, bias=bias, temperature=self.temperature * temperature)


def is_worth_adding(model: nn.Module, store: Ragged, labels: np.ndarray, rows: np.ndarray) -> bool:
    """Whether a regression on the training texts `rows` takes up to a minute, no more room than the network's own
    vectors, and knows every class."""
    ngrams = ngrams_of(model)
    if ngrams is None:
        return False
    classes, width = ngrams.head.weight.shape
    is_quick = int(store.lengths(rows).sum()) * classes <= MOST_WORK
    return classes <= width and is_quick and len(np.unique(labels[rows])) == classes


def ngrams_of(model: nn.Module) -> HashedNgrams | None:
    """The part that reads n-grams; None where there is none."""
    if isinstance(model, TextBlend):
        return model.ngrams
    return model if isinstance(model, HashedNgrams) else None


def features_of(model: nn.Module, store: Ragged, rows: np.ndarray) -> csr_matrix:
    """[N, buckets]: how much each n-gram counts in the texts `rows`, as the network weighs them."""
    ngrams = ngrams_of(model)
    shift = model.order_buckets if isinstance(model, TextBlend) else 0
    values, columns, ends = [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.int64)], [0]
    for row in rows:
        ids = store.row(row)
        ids = torch.from_numpy(ids[ids > shift].astype(np.int64) - shift)
        values.append(bag_weights(ids[None], ngrams.weights, ngrams.word_buckets)[0].numpy())
        columns.append(ids.numpy())
        ends.append(ends[-1] + len(ids))
    shape = (len(rows), len(ngrams.weights))
    return csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=shape)


def add_regression(
    model: nn.Module, arguments: Mapping[str, Any], train: Sparse, judged: Sparse, balanced: bool, check: Check
) -> tuple[nn.Module, dict[str, Any], Regression]:
    """The trained `model`, on the CPU, with a logistic regression of `train` in it, what it is made from now, and the
    regression.

    It is brought to the sureness of what the network says of the `judged` texts, so that all have the same say, and
    the answer is the mean of all. `check` is called between fits, and may raise to stop.
    """
    ngrams = ngrams_of(model)
    best = _fit_best(train, judged, balanced, check)
    network = _logits(judged[0], ngrams.bag.embedding.weight @ ngrams.head.weight.T, ngrams.head.bias)
    regression = best.divided(1 / best_temperature(network.numpy(), judged[1]))
    widened, own = _widened(model, arguments)
    _fill(ngrams_of(widened), ngrams, regression)
    parts = 1
    if isinstance(model, TextBlend) and model.gru is not None:
        widened.gru, parts = model.gru, 2
    widened.divide_logits((parts + 1) / parts)
    return widened.eval(), own, regression


@torch.no_grad()
def learn_again(model: nn.Module, regression: Regression, texts: Sparse, balanced: bool) -> None:
    """Put a regression of all `texts`, fitted as strongly as the one that is in the `model`, into its place."""
    again = Regression.of(texts, regression.strength, regression.temperature, balanced)
    ngrams, classes = ngrams_of(model), len(again.bias)
    columns = ngrams.bag.embedding.weight[:, -classes:]
    size = columns.abs().max() / regression.weight.abs().max().clamp(min=LEAST)
    say = size * ngrams.head.weight[0, -classes]
    columns.copy_(again.weight * size)
    ngrams.head.bias += (again.bias - regression.bias) * say


def _fit_best(train: Sparse, judged: Sparse, balanced: bool, check: Check) -> Regression:
    """The regression with the lowest log loss on `judged`."""
    found = []
    for strength in INVERSE_STRENGTHS:
        check()
        plain = Regression.of(train, strength, 1.0, balanced)
        logits = _logits(judged[0], plain.weight, plain.bias)
        temperature = best_temperature(logits.numpy(), judged[1], SOBERING)
        loss = nn.functional.cross_entropy(logits / temperature, torch.from_numpy(judged[1])).item()
        found.append((loss, plain.divided(temperature)))
    return min(found, key=lambda item: item[0])[1]


def _fit(features: csr_matrix, labels: np.ndarray, strength: float, balanced: bool) -> tuple[Tensor, Tensor]:
    model: Any = LogisticRegression(C=strength, max_iter=ITERATIONS, class_weight="balanced" if balanced else None)
    with thread_limit(len(labels)), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where it stops it is judged like any other
        model.fit(features, labels)
    weight, bias = torch.from_numpy(model.coef_).float().T, torch.from_numpy(model.intercept_).float()
    if weight.shape[1] == 1:  # two classes: half of the score for the one, half against the other
        return torch.cat([-weight, weight], dim=1) / 2, torch.cat([-bias, bias]) / 2
    return weight, bias


def _logits(features: csr_matrix, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.from_numpy(features @ weight.detach().numpy()) + bias.detach()


def _widened(model: nn.Module, arguments: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """An untrained model with room for one more number for each class, and what it is made from."""
    if isinstance(model, TextBlend):
        bag = arguments["ngrams"]
        own = {**arguments, "ngrams": {**bag, "width": bag["width"] + bag["classes"]}}
        return build_text_classifier("blend", own), own
    own = {**arguments, "width": arguments["width"] + arguments["classes"]}
    return build_text_classifier("hashed_ngrams", own), own


@torch.no_grad()
def _fill(wide: HashedNgrams, ngrams: HashedNgrams, regression: Regression) -> None:
    """The network's columns and then the regression's, in numbers of the same size: whoever rounds them all by one
    scale loses nothing."""
    old, weight, bias = ngrams.bag.embedding.weight, regression.weight, regression.bias
    size = float(old.abs().max() / weight.abs().max().clamp(min=LEAST))
    wide.weigh(ngrams.weights)
    wide.bag.embedding.weight.copy_(torch.cat([old, weight * size], dim=1))
    wide.head.weight.copy_(torch.cat([ngrams.head.weight, torch.eye(len(bias)) / size], dim=1))
    wide.head.bias.copy_(ngrams.head.bias + bias)
