"""Speech recognition: from recordings with transcripts to an exported and measured model."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers.contract import OUTPUT_FOLDER, EventWriter, TrainSpec
from workers.inference.characters import Characters
from workers.inference.ctc import greedy
from workers.inference.files import ONNX_FILE
from workers.inference.hearing import SAMPLES, Hearing, Spectra, Waves, parts_of
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.inference.speech_predictor import WHISPER
from workers.parallel.processes import own_device
from workers.pretrained.model_card import describe_start, read_facts
from workers.training.audio_results import write_sample
from workers.training.batches import BatchesByTokens, parts_by_length
from workers.training.classifiers import save_weights
from workers.training.export import export_graph
from workers.training.fitting import LOADING, TRAINING, fit_network, telling
from workers.training.hyperparameters import choose_batch_seconds
from workers.training.loop import Evaluation, FitResult, prepare_torch
from workers.training.losses import ctc_loss
from workers.training.results import describe_training, write_json
from workers.training.speech_changes import SPEECH_AUGMENTATIONS, WAVE_AUGMENTATIONS
from workers.training.speech_data import SpeechData, band_statistics, load_data, longest_frames
from workers.training.speech_decoding import LANGUAGE, choose_decoding, describe, try_decodings, written
from workers.training.speech_figures import error_rates
from workers.training.speech_models import Probabilities, build_network
from workers.training.speech_networks import network_arguments
from workers.training.speech_results import describe_model, judge_model, judged_rows, write_examples
from workers.training.stopping import Stop

JUDGED_SECONDS = 80.0  # at once
PARITY_SAMPLES = 8
LOSS_SHARE = 1e-3  # of the score: between epochs with equally many wrong characters the loss decides
LANGUAGE_FILE = "language.json"
TRYING, JUDGING = (TRAINING[1], 0.95), (0.95, 1.0)  # parts of the progress


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train a recogniser as `spec` says, write ``output/`` and return the summary of the result."""
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    if spec.start_dir and read_facts(Path(spec.start_dir), spec.task)["family"] == WHISPER:
        return importlib.import_module("workers.training.pretrained.whisper").train(spec, events, stop)
    hearing = of_checkpoints().hearing_of(spec) if spec.start_dir else None
    data = load_data(spec, events, telling(events, stop, LOADING, "Listening"), hearing)
    model, arguments = make_model(spec, data, events)
    fitted = fit_model(model, data, spec, events, stop)
    events.progress(TRAINING[1], "Exporting")
    if spec.start_dir:
        of_checkpoints().settle(model)
    return write_output(spec, data, model.cpu(), arguments, fitted, events, stop)


def of_checkpoints() -> Any:
    """What goes on from checkpoints. It loads transformers, which takes seconds, so only who starts from one loads
    it."""
    return importlib.import_module("workers.training.pretrained.ctc")


def make_model(spec: TrainSpec, data: SpeechData, events: EventWriter) -> tuple[nn.Module, dict[str, Any]]:
    """The network before training, and what it is made from, as meta.json says it."""
    if spec.start_dir:
        return of_checkpoints().start(spec, data.alphabet, events)
    seconds = data.seconds_of(data.splits["train"])
    arguments = network_arguments(spec.hyperparameters, len(data.alphabet), seconds, spec.device)
    arguments |= band_statistics(data)
    return build_network(arguments), arguments


def fit_model(model: nn.Module, data: SpeechData, spec: TrainSpec, events: EventWriter, stop: Stop) -> FitResult:
    settings, rows = spec.hyperparameters, data.splits["train"]
    lengths = data.store.lengths
    seconds = choose_batch_seconds(settings["batch_seconds"], data.seconds_of(rows))
    batches = BatchesByTokens(
        [data.store, lengths],
        torch.from_numpy(data.labels[rows]),
        round(seconds / data.hearing.seconds),
        settings["seed"],
        augmentations(data.hearing)[settings["augmentation"]],
        rows,
        lengths=lengths[rows],
    )
    return fit_network(
        model,
        batches,
        partial(evaluate, data=data, device=spec.device),
        ctc_loss(),
        spec,
        events,
        stop,
    )


def augmentations(hearing: Hearing) -> dict[str, Any]:
    return SPEECH_AUGMENTATIONS if isinstance(hearing, Spectra) else WAVE_AUGMENTATIONS


def evaluate(model: nn.Module, data: SpeechData, device: str) -> Evaluation:
    """Loss and error rates of greedy transcripts of the validation recordings."""
    rows = judged_rows(data, "val")
    loss, said = listen_greedily(model, data, rows, device)
    rates = error_rates(said, data.texts_of(rows))
    score = -rates["cer"] - LOSS_SHARE * loss
    return Evaluation(score, {"loss": loss, "wer": rates["wer"], "cer": rates["cer"]})


@torch.no_grad()
def listen_greedily(model: nn.Module, data: SpeechData, rows: np.ndarray, device: str) -> tuple[float, list[str]]:
    """The loss of each character, and the greedy transcripts, of these rows."""
    model.eval()
    loss, total, count, said = ctc_loss(), 0.0, 0.0, [""] * len(rows)
    for places in parts_by_length(data.store.lengths[rows], round(JUDGED_SECONDS / data.hearing.seconds)):
        part = rows[places]
        inputs, targets = inputs_of(data, part, device), torch.from_numpy(data.labels[part]).to(device)
        logits = model(*inputs).float()
        if weight := loss.weigh(targets):
            total, count = total + loss(logits, targets).item() * weight, count + weight
        for place, each in zip(places, logits.cpu().numpy(), strict=True):
            said[place] = written(greedy(each), data.alphabet)
    return total / max(1.0, count), said


def inputs_of(data: SpeechData, rows: np.ndarray, device: str = "cpu") -> tuple[Tensor, Tensor]:
    sounds, lengths = torch.from_numpy(data.store[rows]), torch.from_numpy(data.store.lengths[rows])
    return sounds.to(device), lengths.to(device)


# Results


def write_files(model: nn.Module, data: SpeechData, spec: TrainSpec, folder: Path) -> None:
    """The weights, the graph (checked to answer alike) and a sample; `model` is on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    if spec.start_dir:
        of_checkpoints().save(model, data.alphabet, spec, folder)
        exported = of_checkpoints().Probabilities(model)
    else:
        save_weights(model, folder)
        exported = Probabilities(model)
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    longest = longest_frames(data)
    parts = [parts_of(data.store.row(int(row)), longest, data.hearing)[0] for row in shown[:PARITY_SAMPLES]]
    inputs = data.hearing.feed(parts if isinstance(data.hearing, Spectra) else parts[:1])
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
    axes = {name: {0: "batch", 1: "moments"} if value.ndim > 1 else {0: "batch"} for name, value in tensors.items()}
    axes["probabilities"] = {0: "batch", 1: "answers"}
    export_graph(exported, tensors, ("probabilities",), axes, folder / ONNX_FILE)
    write_sample(data, int(shown[0]), folder / "sample.wav")


def write_output(
    spec: TrainSpec, data: SpeechData, model: nn.Module, arguments: dict[str, Any], fitted: FitResult,
    events: EventWriter, stop: Stop,
) -> dict[str, Any]:  # fmt: skip
    """Write the model's files, choose how it searches, measure it as it will be served; returns the summary."""
    output = Path(spec.work_dir) / OUTPUT_FOLDER
    folder = output / "model"
    write_files(model, data, spec, folder)
    meta = describe_model(spec, data, arguments)
    meta["input"] = describe_input(data) | {"examples": write_examples(data, folder)}
    meta["decoding"] = {"beams": 1}
    write_json(meta, folder / "meta.json")
    searched = settle_decoding(spec, data, meta, folder, telling(events, stop, TRYING, "Trying ways to search"))
    write_json(meta, folder / "meta.json")
    predictor = load_predictor(folder, spec.threads)
    judging = [split for split in ("val", "test") if len(data.splits[split])]
    losses = {split: listen_greedily(model, data, judged_rows(data, split), "cpu")[0] for split in judging}
    judged = judge_model(
        predictor, data, losses, output, telling(events, stop, JUDGING, "Listening to what is held out")
    )
    result = judged | describe_training(model, fitted) | {"model_bytes": (folder / ONNX_FILE).stat().st_size}
    architecture = describe_start(spec).get("start", {}).get("label", meta["architecture"])
    result |= {"architecture": architecture, "decodings": searched}
    write_json(meta | {"metrics": result["metrics"]}, folder / "meta.json")
    record_answer(predictor, folder)
    write_json(result, output / "result.json")
    return {"metrics": result["metrics"], "seconds": result["seconds"], "parameters": result["parameters"]}


def describe_input(data: SpeechData) -> dict[str, Any]:
    """What meta.json says of how recordings are heard."""
    waves = {"hears": SAMPLES, "step": data.hearing.step} if isinstance(data.hearing, Waves) else {}
    return {"kind": "audio", "rate": data.rate, "frames": longest_frames(data)} | waves


def settle_decoding(
    spec: TrainSpec, data: SpeechData, meta: dict[str, Any], folder: Path, progress: Callable[[float], None]
) -> list[dict[str, Any]]:
    """Try ways to search on the validation recordings, and write the best into `meta`; its language model is kept where
    that is what helps. Returns what each reached."""
    settings, rows = spec.hyperparameters, judged_rows(data, "val")
    language = None
    if settings["language_model"] == "auto":
        language = Characters.learn(data.texts_of(data.splits["train"]))
    predictor = load_predictor(folder, spec.threads)
    logs = predictor.listen([data.store.row(int(row)) for row in rows])
    tried = try_decodings(logs, data.texts_of(rows), data.alphabet, language, settings["beam_size"], progress)
    kept = choose_decoding(tried)
    meta["decoding"] = asdict(kept.decoding)
    if kept.name == LANGUAGE and language:
        language.save(folder / LANGUAGE_FILE)
        meta["language"] = LANGUAGE_FILE
    return describe(tried, kept)
