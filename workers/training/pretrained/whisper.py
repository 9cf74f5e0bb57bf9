"""A recogniser that goes on from a checkpoint of Whisper: it hears a window of half a minute, and writes the text token
by token (Radford et al. 2023, "Robust Speech Recognition via Large-Scale Weak Supervision")."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForSpeechSeq2Seq
from transformers.modeling_outputs import BaseModelOutput

from workers.contract import OUTPUT_FOLDER, EventWriter, ProgramFailure, TrainSpec
from workers.inference.beams import Search
from workers.inference.hearing import SAMPLES, Waves
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.inference.speech_predictor import WHISPER
from workers.inference.whisper_predictor import WhisperPredictor, padded_samples
from workers.inference.writing import READER_FILE, WRITER_FILE
from workers.pretrained.families import (
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    CheckpointRefused,
)
from workers.pretrained.languages import check_told, read_texts
from workers.pretrained.model_card import damaged_checkpoint, read_facts
from workers.pretrained.pieces import Writing
from workers.pretrained.whisper import read_whisper
from workers.texts import PADDING
from workers.training.audio_results import write_sample
from workers.training.batches import BatchesByTokens, parts_by_length
from workers.training.fitting import LOADING, TRAINING, fit_network, telling
from workers.training.hyperparameters import choose_batch_seconds
from workers.training.loop import Evaluation, FitResult
from workers.training.pretrained.adapting import prepare, settle
from workers.training.pretrained.bodies import load_body
from workers.training.pretrained.layers import keep_all_layers
from workers.training.pretrained.log_mel import LogMel
from workers.training.pretrained.seq2seq import Seq2Seq
from workers.training.results import describe_training, spread_over, write_json
from workers.training.speech_changes import WAVE_AUGMENTATIONS
from workers.training.speech_data import SpeechData, load_data
from workers.training.speech_decoding import BEAMS, GREEDY
from workers.training.speech_figures import error_rates
from workers.training.speech_results import (
    describe_model,
    judge_model,
    judged_rows,
    listen,
    write_examples,
)
from workers.training.stopping import Stop
from workers.training.text_data import Ragged
from workers.training.writing import begun, export_graphs, ids_of, token_loss, write_greedily

WINDOW, HOP = 400, 160  # samples, where a checkpoint does not say otherwise
WATCHED = 50  # of the validation recordings are written down after each epoch
JUDGED, TRIED = {"test": 400, "val": 200}, 100  # recordings: each takes as long as half a minute of speech
SECONDS_AT_ONCE = 120  # of windows
SPARE, LEAST_ROOM = 1.5, 16
PARITY_SAMPLES = 2
TRYING, JUDGING = (TRAINING[1], 0.94), (0.94, 1.0)  # parts of the progress
KEPT_FILES = (TOKENIZER_FILE, PREPROCESSOR_FILE, TOKENIZER_CONFIG_FILE)


@dataclass(frozen=True)
class Heard:
    """How a checkpoint hears: `samples` at once, and what makes its spectrogram of them."""

    samples: int
    bands: int
    window: int
    hop: int
    rate: int

    @property
    def waves(self) -> Waves:
        """It answers for each two of its frames."""
        return Waves(self.rate, 2 * self.hop)


class WhisperNetwork(Seq2Seq):
    """As `Seq2Seq`, but that it reads samples [N, S] to 32,767, of which the first `heard.samples` count."""

    def __init__(self, body: nn.Module, prompt: Sequence[int], heard: Heard) -> None:
        super().__init__(body, prompt)
        self.samples = heard.samples
        self.spectrogram = LogMel(bands=heard.bands, window=heard.window, hop=heard.hop, rate=heard.rate)

    def forward(self, samples: Tensor, lengths: Tensor, begun: Tensor) -> Tensor:
        """Logits [N, T, V] of what follows each id of `begun` [N, T]. Behind their `lengths` samples are 0."""
        states, _mask = self.read(F.pad(samples, (0, self.samples - samples.shape[1])))
        prompt = begun.new_tensor(self.prompt).expand(len(begun), -1)
        logits = self.body(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            decoder_input_ids=self._own(torch.cat([prompt, begun[:, 1:]], dim=1)),
            use_cache=False,
        ).logits
        return logits[:, len(self.prompt) - 1 :]

    def read(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """What is heard [N, T, width], and a mask [N, T] that hides nothing: silence is heard too."""
        states = self.body.get_encoder()(self.spectrogram(samples)).last_hidden_state
        return states, torch.zeros_like(states[:, :, 0])


@dataclass(frozen=True)
class Task:
    """The recordings, their texts as the checkpoint's ids, and how it is asked to write at most `most` of them."""

    data: SpeechData
    targets: Ragged
    writing: Writing
    most: int

    def search(self, beams: int = 1) -> Search:
        return Search(beams, 1.0, self.writing.end, self.writing.never)


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train as `spec` says, write ``output/`` and return the summary of the result."""
    heard, writing = read(spec)
    task = load_task(spec, heard, writing, events, stop)
    model = start(spec, heard, writing, events)
    fitted = fit_model(model, task, spec, events, stop)
    events.progress(TRAINING[1], "Exporting")
    settle(model)
    return write_output(spec, task, model.cpu(), fitted, events, stop)


def read(spec: TrainSpec) -> tuple[Heard, Writing]:
    """How the checkpoint in `spec.start_dir` hears and is asked. Raises ProgramFailure."""
    folder, settings = Path(spec.start_dir), spec.hyperparameters
    facts = read_facts(folder, spec.task)
    try:
        check_told(spec.task, facts["family"], read_texts(_contents(folder)), settings)
        config, asked = (json.loads((folder / name).read_text()) for name in (CONFIG_FILE, PREPROCESSOR_FILE))
        hop = int(asked.get("hop_length", HOP))
        window, rate = int(asked.get("n_fft", WINDOW)), int(asked.get("sampling_rate", 16_000))
        heard = Heard(2 * config["max_source_positions"] * hop, int(config["num_mel_bins"]), window, hop, rate)
        return heard, read_whisper(folder, settings)
    except CheckpointRefused as error:
        raise ProgramFailure(error.code, error.message, blame="settings", field=error.field) from error
    except (OSError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise damaged_checkpoint(f"{type(error).__name__}: {error}") from error


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def load_task(spec: TrainSpec, heard: Heard, writing: Writing, events: EventWriter, stop: Stop) -> Task:
    """Hear all, and cut the texts. What is longer than the checkpoint hears or writes is not learned from. Raises
    ProgramFailure and Stopped."""
    most = min(spec.hyperparameters["max_seconds"], heard.samples / heard.rate)
    spec = replace(spec, hyperparameters={**spec.hyperparameters, "max_seconds": most})
    data = load_data(spec, events, telling(events, stop, LOADING, "Listening"), heard.waves)
    targets = Ragged([writing.target.ids(text) for text in data.texts])
    splits = {
        name: rows if name == "test" else rows[targets.lengths(rows) <= writing.longest]
        for name, rows in data.splits.items()
    }
    rows = splits["train"]
    if not len(rows) or not len(splits["val"]):
        message = f"Every transcript has more than the {writing.longest} tokens that this checkpoint writes."
        raise ProgramFailure("no_training_recordings", message, blame="settings", field="start_from")
    pace = float((targets.lengths(rows) / data.store.lengths[rows]).max())
    room = LEAST_ROOM + math.ceil(SPARE * pace * heard.samples)
    return Task(replace(data, splits=splits), targets, writing, min(writing.longest, room))


def start(spec: TrainSpec, heard: Heard, writing: Writing, events: EventWriter) -> WhisperNetwork:
    """Ready to learn. Raises ProgramFailure."""
    folder, settings = Path(spec.start_dir), spec.hyperparameters
    facts = read_facts(folder, spec.task)
    body = keep_all_layers(load_body(folder, AutoModelForSpeechSeq2Seq))
    body.config.apply_spec_augment = False  # numpy's own random numbers, which no checkpoint of a training keeps
    model = WhisperNetwork(body, writing.prompt, heard)
    events.log(f"Starting from {settings['start_from']} ({facts['label']}). {prepare(model, settings)}")
    return model


def fit_model(model: WhisperNetwork, task: Task, spec: TrainSpec, events: EventWriter, stop: Stop) -> FitResult:
    settings, data = spec.hyperparameters, task.data
    rows, lengths = data.splits["train"], data.store.lengths
    seconds = choose_batch_seconds(settings["batch_seconds"], data.seconds_of(rows))
    batches = BatchesByTokens(
        [data.store, lengths, begun(task.targets)],
        torch.from_numpy(task.targets[rows]),
        round(seconds / data.hearing.seconds),
        settings["seed"],
        WAVE_AUGMENTATIONS[settings["augmentation"]],
        rows,
        lengths=lengths[rows],
    )
    judge = partial(evaluate, task=task, device=spec.device)
    return fit_network(model, batches, judge, token_loss(0.0, model.first_id), spec, events, stop)


def evaluate(model: WhisperNetwork, task: Task, device: str) -> Evaluation:
    """The loss of each token of the validation recordings, of which the lowest is kept, and the error rates of greedy
    transcripts of some of them."""
    loss = token_loss_of(model, task, "val", device)
    rows = spread_over(task.data.splits["val"], WATCHED)
    rates = error_rates(write_down(model, task, rows, device), task.data.texts_of(rows))
    return Evaluation(-loss, {"loss": loss, "wer": rates["wer"], "cer": rates["cer"]})


def _parts(model: WhisperNetwork, task: Task, rows: np.ndarray):
    windows = np.full(len(rows), model.samples)
    return parts_by_length(windows, round(SECONDS_AT_ONCE / task.data.hearing.seconds))


@torch.no_grad()
def _beginnings(data: SpeechData, rows: np.ndarray, samples: int) -> Tensor:
    """int16 [n, samples] of these recordings, with silence behind short ones."""
    return torch.from_numpy(padded_samples([data.store.row(int(row))[:samples] for row in rows], samples))


def token_loss_of(model: WhisperNetwork, task: Task, split: str, device: str) -> float:
    model.eval()
    rows, total, count = judged_rows(task.data, split, JUDGED), 0.0, 0
    known, data = begun(task.targets), task.data
    for places in _parts(model, task, rows):
        part = rows[places]
        samples = torch.from_numpy(data.store[part][:, : model.samples]).to(device)
        lengths = torch.from_numpy(data.store.lengths[part]).to(device)
        wanted = ids_of(task.targets[part][:, : task.writing.longest], device)
        logits = model(samples, lengths, ids_of(known[part][:, : task.writing.longest], device)).float()
        is_token = wanted != PADDING
        total += F.cross_entropy(logits[is_token], wanted[is_token] - model.first_id, reduction="sum").item()
        count += int(is_token.sum())
    return total / count


def write_down(model: WhisperNetwork, task: Task, rows: np.ndarray, device: str) -> list[str]:
    """Greedy transcripts of the beginnings of these recordings, with the model as it is while it is trained."""
    found = [""] * len(rows)
    for places in _parts(model, task, rows):
        sounds = _beginnings(task.data, rows[places], model.samples).to(device)
        limits = [task.most] * len(places)
        said = write_greedily(model, sounds, limits, task.search(), task.writing.prompt)
        for place, tokens in zip(places, said, strict=True):
            found[place] = task.writing.target.text(tokens)
    return found


# Results


def write_output(
    spec: TrainSpec, task: Task, model: WhisperNetwork, fitted: FitResult, events: EventWriter, stop: Stop
) -> dict[str, Any]:
    """Write the model's files, choose how many beams it searches with, measure it as it will be served; returns the
    summary."""
    output = Path(spec.work_dir) / OUTPUT_FOLDER
    folder = output / "model"
    write_files(model, task, spec, folder)
    meta = describe(spec, task, model.samples) | {"search": asdict(task.search())}
    meta["input"]["examples"] = write_examples(task.data, folder)
    write_json(meta, folder / "meta.json")
    tell = telling(events, stop, TRYING, "Trying ways to search")
    tried = settle_search(spec, task, load_predictor(folder, spec.threads), meta, tell)
    write_json(meta, folder / "meta.json")
    predictor = load_predictor(folder, spec.threads)
    losses = {
        split: token_loss_of(model, task, split, "cpu") for split in ("val", "test") if len(task.data.splits[split])
    }
    tell = telling(events, stop, JUDGING, "Listening to what is held out")
    judged = judge_model(predictor, task.data, losses, output, tell, JUDGED)
    size = sum((folder / name).stat().st_size for name in (READER_FILE, WRITER_FILE))
    result = judged | describe_training(model, fitted) | {"model_bytes": size, "decodings": tried}
    result["architecture"] = meta["start"]["label"]
    write_json(meta | {"metrics": result["metrics"]}, folder / "meta.json")
    record_answer(predictor, folder)
    write_json(result, output / "result.json")
    return {"metrics": result["metrics"], "seconds": result["seconds"], "parameters": result["parameters"]}


def write_files(model: WhisperNetwork, task: Task, spec: TrainSpec, folder: Path) -> None:
    """A checkpoint of transformers, from which another training can start, both graphs and a sample; `model` is on the
    CPU."""
    data = task.data
    model.body.save_pretrained(folder)
    for name in KEPT_FILES:
        if (Path(spec.start_dir) / name).exists():
            shutil.copyfile(Path(spec.start_dir) / name, folder / name)
    shown = data.splits["test"] if len(data.splits["test"]) else data.splits["val"]
    some = shown[:PARITY_SAMPLES]
    sounds = _beginnings(data, some, model.samples)
    export_graphs(model, "samples", sounds, ids_of(begun(task.targets)[some]), folder)
    write_sample(data, int(shown[0]), folder / "sample.wav")


def describe(spec: TrainSpec, task: Task, samples: int) -> dict[str, Any]:
    """The body of meta.json but for how it searches, examples and metrics."""
    data = task.data
    return describe_model(spec, data, {"longest": task.most}) | {
        "writes": WHISPER,
        "pieces": task.writing.meta(),
        "prompt": list(task.writing.prompt),
        "input": {"kind": "audio", "rate": data.rate, "frames": samples, "hears": SAMPLES, "step": data.hearing.step},
    }


def settle_search(
    spec: TrainSpec, task: Task, predictor: WhisperPredictor, meta: dict[str, Any], progress: Callable[[float], None]
) -> list[dict[str, Any]]:
    """Try one beam and, where more are asked for, as many on validation recordings, and write what has the fewest
    wrong words into `meta`; of equal ones the fewest beams. Returns what each reached."""
    rows, found = spread_over(task.data.splits["val"], TRIED), []
    asked = spec.hyperparameters["beam_size"]
    ways: Mapping[str, int] = {GREEDY: 1} | ({BEAMS: asked} if asked > 1 else {})
    for number, (name, beams) in enumerate(ways.items()):
        predictor.search = task.search(beams)
        said = listen(
            predictor, task.data, rows, lambda share, number=number: progress((number + share) / len(ways))
        )  # fmt: skip
        rates = error_rates([each.text for each in said], task.data.texts_of(rows))
        found.append({"name": name, "wer": rates["wer"], "cer": rates["cer"]})
    kept = min(found, key=lambda way: (way["wer"], way["cer"]))
    meta["search"] = asdict(task.search(ways[kept["name"]]))
    return [way | {"is_kept": way is kept} for way in found]
