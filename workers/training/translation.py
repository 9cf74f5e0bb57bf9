"""Translation: from pairs of texts to an exported and measured model."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workers.contract import OUTPUT_FOLDER, EventWriter, ProgramFailure, TrainSpec
from workers.inference.beams import Search
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.inference.translation_predictor import room
from workers.inference.writing import READER_FILE, WRITER_FILE
from workers.parallel.processes import own_device
from workers.pretrained.model_card import describe_start
from workers.subwords import PADDING
from workers.training.batches import BatchesByTokens, parts_by_length
from workers.training.classifiers import save_weights
from workers.training.fitting import LOADING, TRAINING, fit_network
from workers.training.hyperparameters import choose_batch_tokens
from workers.training.loop import Evaluation, FitResult, prepare_torch
from workers.training.pair_data import Cutting, Pairs, encode_all, learn_pieces, read_pairs
from workers.training.results import describe_training, write_json
from workers.training.stopping import Stop
from workers.training.text_data import Ragged
from workers.training.translation_figures import Judge
from workers.training.translation_models import build_translator
from workers.training.translation_networks import network_arguments, share_scripts
from workers.training.translation_results import describe_model, judge_model
from workers.training.writing import begun, export_graphs, ids_of, token_loss, write_greedily

PIECES_FILE = "pieces.json"
SIDE_FILES = ("source_pieces.json", "target_pieces.json")
LONG_FOR_ITS_SOURCE = 99.5  # per cent of the training pairs have translations that are relatively shorter
SPARE_GROWTH = 1.5
WATCHED_PAIRS = 100  # of the validation pairs are translated after each epoch
JUDGED_TOKENS, JUDGED_LOGITS = 4096, 2**27  # at once
PARITY_SAMPLES = 8


@dataclass(frozen=True)
class PairData:
    """A data set version as a translator sees it: pieces of both sides by row number, and row numbers by split.
    `growth` is how many times as long as its source a translation may be, and `longest` how many pieces either may
    have. `writing` says how a checkpoint is asked, where there is one."""

    pairs: Pairs
    splits: dict[str, np.ndarray]
    source_pieces: Cutting
    target_pieces: Cutting
    sources: Ragged
    targets: Ragged
    growth: float
    longest: int
    search: Search = field(default_factory=Search)
    writing: Any = None

    @property
    def is_shared(self) -> bool:
        return self.source_pieces is self.target_pieces

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.writing.prompt if self.writing else ()


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train a translator as `spec` says, write ``output/`` and return the summary of the result."""
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    data = load_data(spec, events, stop)
    model, arguments = make_model(spec, data, events)
    fitted = fit_model(model, data, spec, events, stop)
    events.progress(TRAINING[1], "Exporting")
    if spec.start_dir:
        of_checkpoints().settle(model)
    return write_output(spec, data, model.cpu(), arguments, fitted, events, stop)


def of_checkpoints() -> Any:
    """What goes on from checkpoints. It loads transformers, which takes seconds, so only who starts from one loads
    it."""
    return importlib.import_module("workers.training.pretrained.translation")


def make_model(spec: TrainSpec, data: PairData, events: EventWriter) -> tuple[nn.Module, dict[str, Any]]:
    """The network before training, and what it is made from, as meta.json says it."""
    if spec.start_dir:
        return of_checkpoints().start(spec, data.writing, data.longest, events)
    arguments = network_arguments(spec.hyperparameters, data, spec.device)
    return build_translator(arguments), arguments


def load_data(spec: TrainSpec, events: EventWriter, stop: Stop) -> PairData:
    """Read the pairs, learn how words are cut into pieces, or ask a checkpoint, and cut them. Raises ProgramFailure,
    Stopped."""
    settings = spec.hyperparameters
    pairs = read_pairs(spec, events)
    longest, search, writing = settings["max_tokens"], Search(settings["beam_size"], settings["length_penalty"]), None
    if spec.start_dir:
        writing = of_checkpoints().read(spec)
        tables = writing.source, writing.target
        longest, search = min(longest, writing.longest), replace(search, end=writing.end, never=writing.never)
    else:
        tables = learn_tables(pairs, settings, events)
    stop.check()
    told = partial(_report_loading, events, stop)
    sources, targets = (
        encode_all(table, texts, told) for table, texts in zip(tables, (pairs.sources, pairs.targets), strict=True)
    )
    splits = leave_out_long(pairs.splits, sources, targets, longest, events)
    rows = splits["train"]
    growth = SPARE_GROWTH * float(np.percentile(targets.lengths(rows) / sources.lengths(rows), LONG_FOR_ITS_SOURCE))
    events.log(
        f"{len(rows):,} pairs to train on, with {sources.lengths(rows).mean():.1f} pieces to read and "
        f"{targets.lengths(rows).mean():.1f} to write on average, of {len(tables[0]):,} and {len(tables[1]):,}"
        f"{' that both share' if tables[0] is tables[1] else ''}."
    )
    return PairData(pairs, splits, *tables, sources, targets, growth, longest, search, writing)


def learn_tables(pairs: Pairs, settings: Mapping[str, Any], events: EventWriter) -> tuple[Cutting, Cutting]:
    events.progress(LOADING[0], "Learning pieces of words")
    wanted = settings["shared_pieces"]
    return learn_pieces(pairs, settings, share_scripts(pairs) if wanted == "auto" else wanted == "yes")


def _report_loading(events: EventWriter, stop: Stop, share: float) -> None:
    stop.check()
    events.progress(LOADING[0] + (LOADING[1] - LOADING[0]) * share, "Reading pairs")


def leave_out_long(
    splits: Mapping[str, np.ndarray], sources: Ragged, targets: Ragged, longest: int, events: EventWriter
) -> dict[str, np.ndarray]:
    """The splits without pairs to learn from that are longer than `longest`. A translation that is cut off would teach
    to stop early. Raises ProgramFailure (no_training_pairs)."""
    kept = {}
    for name, rows in splits.items():
        lengths = np.maximum(sources.lengths(rows), targets.lengths(rows))
        kept[name] = rows if name == "test" else rows[lengths <= longest]
        if left := len(rows) - len(kept[name]):
            events.log(f"{left:,} {name} pairs are longer than {longest} pieces and are left out.", "warning")
    if not len(kept["train"]) or not len(kept["val"]):
        message = f"No pair is left to {'judge by' if len(kept['train']) else 'train on'} that is short enough."
        raise ProgramFailure(
            "no_training_pairs", message, hint="Raise max_tokens.", blame="settings", field="max_tokens"
        )
    return kept


def fit_model(model: nn.Module, data: PairData, spec: TrainSpec, events: EventWriter, stop: Stop) -> FitResult:
    settings, rows = spec.hyperparameters, data.splits["train"]
    targets = data.targets[rows]
    lengths = np.maximum(data.sources.lengths(rows), data.targets.lengths(rows))
    batches = BatchesByTokens(
        [data.sources, begun(data.targets)],
        torch.from_numpy(targets),
        choose_batch_tokens(settings["batch_tokens"], int(lengths.sum())),
        settings["seed"],
        rows=rows,
        lengths=lengths,
    )
    return fit_network(
        model,
        batches,
        partial(evaluate, data=data, judge=Judge.of(data.pairs.targets), device=spec.device),
        token_loss(settings["label_smoothing"], model.first_id),
        spec,
        events,
        stop,
    )


def evaluate(model: nn.Module, data: PairData, judge: Judge, device: str) -> Evaluation:
    """The loss of each token of the validation pairs, of which the lowest is kept, and how often the most probable
    token is right. BLEU is that of greedy translations of some of them."""
    loss, accuracy = token_figures(model, data, "val", device)
    rows = data.splits["val"]
    rows = rows[np.linspace(0, len(rows) - 1, min(WATCHED_PAIRS, len(rows))).astype(int)]
    said = [data.target_pieces.text(tokens) for tokens in translate_greedily(model, data, rows, device)]
    bleu = judge.bleu(said, [data.pairs.targets[row] for row in rows])
    return Evaluation(-loss, {"loss": loss, "token_accuracy": accuracy, "bleu": bleu})


@torch.no_grad()
def token_figures(model: nn.Module, data: PairData, split: str, device: str) -> tuple[float, float]:
    """Mean loss of each token and the share that is guessed right, when all before it are known; of texts that are
    longer than the model reads and writes, as far as it does."""
    model.eval()
    rows, total, right, count = data.splits[split], 0.0, 0, 0
    at_once = min(JUDGED_TOKENS, max(1, JUDGED_LOGITS // len(data.target_pieces)))
    lengths = np.maximum(data.sources.lengths(rows), data.targets.lengths(rows))
    known = begun(data.targets)
    for places in parts_by_length(lengths, at_once):
        part = rows[places]
        sources, before, wanted = (
            ids_of(side[part][:, : data.longest], device) for side in (data.sources, known, data.targets)
        )
        logits = model(sources, before).float()
        is_token = wanted != PADDING
        logits, wanted = logits[is_token], wanted[is_token] - model.first_id
        total += F.cross_entropy(logits, wanted, reduction="sum").item()
        right += int((logits.argmax(dim=1) == wanted).sum())
        count += int(is_token.sum())
    return total / count, right / count


def translate_greedily(model: nn.Module, data: PairData, rows: np.ndarray, device: str) -> list[tuple[int, ...]]:
    """Tokens for these rows, with the model as it is while it is trained."""
    limits = [room(int(length), data.growth, data.longest) for length in data.sources.lengths(rows)]
    return write_greedily(model, ids_of(data.sources[rows], device), limits, data.search, data.prompt)


# Results


def write_files(model: nn.Module, data: PairData, spec: TrainSpec, folder: Path) -> None:
    """The weights, both graphs (checked to answer alike), the pieces and a sample; `model` is on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    if spec.start_dir:
        of_checkpoints().save(model, spec, folder)
    else:
        save_weights(model, folder)
        for table, name in zip((data.source_pieces, data.target_pieces), pieces_files(data).values(), strict=True):
            table.save(folder / name)
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    shown = shown[:PARITY_SAMPLES]
    export_graphs(
        model, "source", ids_of(data.sources[shown][:, : data.longest]), ids_of(begun(data.targets)[shown]), folder
    )
    (folder / "sample.json").write_text(
        json.dumps({"text": data.pairs.sources[shown[0]]}, ensure_ascii=False, indent=1), encoding="utf-8"
    )


def pieces_files(data: PairData) -> dict[str, str]:
    """Where the pieces of each side lie."""
    names = (PIECES_FILE, PIECES_FILE) if data.is_shared else SIDE_FILES
    return dict(zip(("source", "target"), names, strict=True))


def write_output(
    spec: TrainSpec, data: PairData, model: nn.Module, arguments: dict[str, Any], fitted: FitResult,
    events: EventWriter, stop: Stop,
) -> dict[str, Any]:  # fmt: skip
    """Write the model's files, measure the model as it will be served, write result.json; returns the summary."""
    output = Path(spec.work_dir) / OUTPUT_FOLDER
    folder = output / "model"
    write_files(model, data, spec, folder)
    meta = describe_model(spec, data, arguments, data.writing.meta() if data.writing else pieces_files(data))
    write_json(meta, folder / "meta.json")
    predictor = load_predictor(folder, spec.threads)
    tokens = {split: token_figures(model, data, split, "cpu") for split in ("val", "test") if len(data.splits[split])}
    judged = judge_model(predictor, data, tokens, partial(_report_judging, events, stop))
    size = sum((folder / name).stat().st_size for name in (READER_FILE, WRITER_FILE))
    result = judged | describe_training(model, fitted) | {"model_bytes": size}
    result["architecture"] = describe_start(spec).get("start", {}).get("label", meta["architecture"])
    write_json(meta | {"metrics": result["metrics"]}, folder / "meta.json")
    record_answer(predictor, folder)
    write_json(result, output / "result.json")
    return {"metrics": result["metrics"], "seconds": result["seconds"], "parameters": result["parameters"]}


def _report_judging(events: EventWriter, stop: Stop, share: float) -> None:
    stop.check()
    events.progress(TRAINING[1] + (1 - TRAINING[1]) * share, "Translating held-out texts")
