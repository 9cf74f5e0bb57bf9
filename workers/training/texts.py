"""Text classification: from a data set version to a calibrated, exported and measured model."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.contract import OUTPUT_FOLDER, EventWriter, TrainSpec
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.parallel.processes import own_device
from workers.parallel.strategies.base import Strategy
from workers.pretrained.model_card import damaged_checkpoint, describe_start
from workers.texts import PRETRAINED, Encoder
from workers.training import text_linear
from workers.training.batches import parts_by_length
from workers.training.calibration import FEW_TEMPERATURES, best_temperature
from workers.training.classifiers import fit_classifier, judged_probabilities, save_weights
from workers.training.export import export_onnx
from workers.training.fitting import LOADING, TRAINING
from workers.training.loop import Evaluation, FitResult, prepare_torch
from workers.training.metrics import accuracy, log_loss
from workers.training.results import describe_result, write_json
from workers.training.stopping import Stop
from workers.training.teaching import Guide
from workers.training.text_data import Ragged, choose_encoder, count_words, encode_all, read_rows, weights_of
from workers.training.text_linear import Regression
from workers.training.text_models import TextProbabilities, build_text_classifier
from workers.training.text_networks import choose_network, network_arguments
from workers.training.text_results import describe_model, list_mistakes

EVALUATED_IDS = 2**17  # at once
PARITY_SAMPLES = 64


@dataclass(frozen=True)
class TextData:
    """A data set version: `texts` and their ids in `store` [N], `labels` [N], and row numbers by split."""

    column: str
    target: str
    texts: list[str]
    classes: list[str]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    architecture: str
    encoder: Encoder
    store: Ragged


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train a text classifier as `spec` says, write ``output/`` and return the summary of the result."""
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    data = load_data(spec, spec.hyperparameters["model"], events, stop)
    model, arguments = make_model(spec, data, events)
    fitted = fit_model(model, data, spec, events, stop, Strategy())
    if spec.start_dir:
        of_checkpoints().settle(model)
    model, arguments, regression = with_regression(model.cpu(), arguments, data, spec, events, stop)
    model = model.to(spec.device)
    events.progress(TRAINING[1], "Measuring")
    fitted = replace(fitted, temperature=calibrate(model, data, spec.device))
    events.log(f"Logits divided by {fitted.temperature:.3g} to fit certainty to accuracy.")
    probabilities = judged_probabilities(data, partial(predict, model, data, device=spec.device), ("val",))
    model = with_all_texts(model.cpu(), regression, data, spec, events, stop).to(spec.device)
    probabilities |= judged_probabilities(data, partial(predict, model, data, device=spec.device), ("test",))
    events.progress(0.96, "Exporting")
    return write_output(spec, data, model.cpu(), arguments, fitted, probabilities)


def load_data(spec: TrainSpec, model: str, events: EventWriter, stop: Stop, encoder: Encoder | None = None) -> TextData:
    """Read the data set version and turn its texts into ids for the network called `model`, or for the one that fits
    the data where it is auto. `encoder` is that of a model which is there already; None makes one for this data."""
    rows = read_rows(spec, events)
    learned_from = [rows.texts[number] for number in rows.splits["train"]]
    if spec.start_dir:
        model, encoder = PRETRAINED, encoder_of_checkpoint(spec)
    architecture = choose_network(model, count_words(learned_from, spec.hyperparameters))
    encoder = encoder or choose_encoder(architecture, spec.hyperparameters, learned_from)
    store = encode_all(encoder, rows.texts, partial(_report_loading, events, stop))
    lengths = store.lengths(rows.splits["train"])
    events.log(
        f"{architecture}: {len(rows.texts):,} texts of {len(rows.classes):,} classes, with {np.median(lengths):,.0f} "
        f"features in the middle and {lengths.max():,} at most, of {encoder.ids_in_all - 1:,}."
    )
    return TextData(**vars(rows), architecture=architecture, encoder=encoder, store=store)


def _report_loading(events: EventWriter, stop: Stop, share: float) -> None:
    stop.check()
    events.progress(LOADING[0] + (LOADING[1] - LOADING[0]) * share, "Reading texts")


def encoder_of_checkpoint(spec: TrainSpec) -> Encoder:
    """Raises ProgramFailure damaged_checkpoint."""
    encoders = importlib.import_module("workers.pretrained.encoder")
    settings = spec.hyperparameters
    try:
        return encoders.PretrainedEncoder.of_checkpoint(
            Path(spec.start_dir), settings["max_words"], settings["max_characters"]
        )
    except (OSError, ValueError, KeyError) as error:
        raise damaged_checkpoint(str(error)) from error


def of_checkpoints() -> Any:
    """What goes on from checkpoints. It loads transformers, which takes seconds, so only who starts from one loads
    it."""
    return importlib.import_module("workers.training.pretrained.texts")


def make_model(spec: TrainSpec, data: TextData, events: EventWriter) -> tuple[nn.Module, dict[str, Any]]:
    """The network before training, and what it is made from, which stands in meta.json, so that the weights can be
    loaded again."""
    if spec.start_dir:
        return of_checkpoints().start(spec, len(data.classes), events)
    arguments = network_arguments(data.architecture, spec.hyperparameters, data.encoder, len(data.classes))
    model = build_text_classifier(data.architecture, arguments)
    model.weigh(torch.from_numpy(weights_of(data.encoder, data.store, data.splits["train"])))
    return model, arguments


def fit_model(
    model: nn.Module, data: TextData, spec: TrainSpec, events: EventWriter, stop: Stop, strategy: Strategy,
    guide: Guide = lambda loss, weights: loss,
) -> FitResult:  # fmt: skip
    """`guide` changes what is learned from the labels alone."""
    judge = partial(evaluate, data=data, device=spec.device)
    return fit_classifier(model, data, judge, spec, events, stop, strategy, guide)


def with_regression(
    model: nn.Module, arguments: dict[str, Any], data: TextData, spec: TrainSpec, events: EventWriter, stop: Stop
) -> tuple[nn.Module, dict[str, Any], Regression | None]:
    """The model with a logistic regression on its n-grams in it, where it reads n-grams and that is worth it, what it
    is made from then, and the regression."""
    train, judged = data.splits["train"], data.splits["val"]
    if not text_linear.is_worth_adding(model, data.store, data.labels, train):
        return model, arguments, None
    events.progress(TRAINING[1], "Fitting a linear model")
    features = [(text_linear.features_of(model, data.store, rows), data.labels[rows]) for rows in (train, judged)]
    return text_linear.add_regression(model, arguments, *features, _is_balanced(spec), stop.check)


def with_all_texts(
    model: nn.Module, regression: Regression | None, data: TextData, spec: TrainSpec, events: EventWriter, stop: Stop
) -> nn.Module:
    """The model, whose `regression` has learned from the validation texts as well once these have judged it."""
    if regression is not None:
        stop.check()
        events.progress(TRAINING[1], "Fitting a linear model")
        rows = np.concatenate([data.splits["train"], data.splits["val"]])
        texts = text_linear.features_of(model, data.store, rows), data.labels[rows]
        text_linear.learn_again(model, regression, texts, _is_balanced(spec))
    return model


def _is_balanced(spec: TrainSpec) -> bool:
    return spec.hyperparameters["class_weights"] == "balanced"


def evaluate(model: nn.Module, data: TextData, device: str) -> Evaluation:
    """Loss and accuracy on the validation texts; the epoch with the lowest loss is kept. It is the loss of the
    calibrated model, which is what will be served: else label smoothing and class weights would decide."""
    logits, labels = predict(model, data, "val", device), data.labels[data.splits["val"]]
    temperature = best_temperature(logits.numpy(), labels, FEW_TEMPERATURES)
    probabilities = (logits / temperature).softmax(dim=1).numpy()
    loss = log_loss(labels, probabilities)
    return Evaluation(-loss, {"loss": loss, "accuracy": accuracy(labels, probabilities.argmax(axis=1))})


@torch.no_grad()
def predict(model: nn.Module, data: TextData, split: str, device: str) -> Tensor:
    """Logits [n, classes] for the texts of `split`, on the CPU."""
    model.eval()
    rows, parts = data.splits[split], []
    for places in parts_by_length(data.store.lengths(rows), EVALUATED_IDS):
        parts.append((places, model(torch.from_numpy(data.store[rows[places]]).to(device)).float().cpu()))
    logits = torch.empty(len(rows), len(data.classes))
    for places, answers in parts:
        logits[torch.from_numpy(places)] = answers
    return logits


def calibrate(model: nn.Module, data: TextData, device: str) -> float:
    """Divide the logits by the temperature that fits the validation texts best, and return it."""
    temperature = best_temperature(predict(model, data, "val", device).numpy(), data.labels[data.splits["val"]])
    model.divide_logits(temperature)
    return temperature


def write_files(model: nn.Module, data: TextData, folder: Path) -> None:
    """The weights, the graph (checked to answer alike) and a sample; `model` is on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder)
    data.encoder.save(folder)
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    samples = torch.from_numpy(data.store[shown[:PARITY_SAMPLES]])
    export_onnx(TextProbabilities(model), {"ids": samples}, "probabilities", folder / "model.onnx", ("ids",))
    (folder / "sample.json").write_text(json.dumps({"text": data.texts[shown[0]]}, ensure_ascii=False, indent=1))


def write_output(
    spec: TrainSpec, data: TextData, model: nn.Module, arguments: dict[str, Any], fitted: FitResult,
    probabilities: dict[str, np.ndarray],
) -> dict[str, Any]:  # fmt: skip
    """Write the model's files, result.json and the mistakes; returns the summary."""
    output = Path(spec.work_dir) / OUTPUT_FOLDER
    folder = output / "model"
    write_files(model, data, folder)
    result = describe_result(data, model, fitted, probabilities, (folder / "model.onnx").stat().st_size)
    start = describe_start(spec).get("start", {})
    result |= {"architecture": start.get("label", data.architecture), "mistakes": list_mistakes(data, probabilities)}
    write_json(describe_model(spec, data, arguments, result["metrics"]), folder / "meta.json")
    record_answer(load_predictor(folder, spec.threads), folder)
    write_json(result, output / "result.json")
    return {"metrics": result["metrics"], "seconds": result["seconds"], "parameters": result["parameters"]}
