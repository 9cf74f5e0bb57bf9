"""Finding answers: from a table of questions and answers to an index of all answers, measured and ready to be asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workers.contract import OUTPUT_FOLDER, EventWriter, TrainSpec
from workers.inference.parity import record_answer
from workers.inference.predictor import load_predictor
from workers.parallel.processes import own_device
from workers.retrieving import AnswerIndex
from workers.texts import TextEncoder
from workers.training.batches import Batches
from workers.training.fitting import LOADING, TRAINING, fit_network
from workers.training.hyperparameters import choose_batch_size
from workers.training.loop import Evaluation, FitResult, prepare_torch
from workers.training.results import write_json
from workers.training.retrieval.data import Answered, Judged, read_answered
from workers.training.retrieval.judging import TUNED_QUESTIONS, Watch, ask_all, choose_mixture, fit_certainty
from workers.training.retrieval.network import (
    Chosen,
    Tower,
    contrastive_loss,
    make_pairs,
    network_arguments,
    vectors_of,
)
from workers.training.retrieval.results import (
    Learned,
    check_served,
    describe_model,
    describe_result,
    judge_split,
    write_files,
)
from workers.training.stopping import Stop
from workers.training.text_data import (
    COUNTING_BUCKETS,
    FEWEST_TEXTS_IN_BAG,
    SAMPLED_TEXTS,
    Ragged,
    encode_all,
    table_size,
    weights_of,
)

EVALUATED_TEXTS = 256  # at once


@dataclass(frozen=True)
class RetrievalData:
    """`store` has the ids of the questions by row, and behind them those of the answers by number."""

    answered: Answered
    encoder: TextEncoder
    store: Ragged
    index: AnswerIndex

    @property
    def answer_rows(self) -> np.ndarray:
        return len(self.answered.questions) + np.arange(len(self.answered.answers))


def train(spec: TrainSpec, events: EventWriter, stop: Stop) -> dict[str, Any]:
    """Train an encoder as `spec` says, put all answers into an index, write ``output/`` and return the summary."""
    spec = replace(spec, device=own_device(spec.device))
    prepare_torch(spec.threads, spec.hyperparameters["seed"])
    data = load_data(spec, events, stop)
    arguments = network_arguments(spec.hyperparameters, data.encoder.word_buckets, data.encoder.run_buckets)
    model = Tower(**arguments)
    learned_from = np.concatenate([data.answered.known, data.answer_rows])
    model.weigh(torch.from_numpy(weights_of(data.encoder, data.store, learned_from)))
    fitted = fit_model(model, data, spec, events, stop)
    events.progress(TRAINING[1], "Putting the answers into an index")
    return write_output(spec, data, model, arguments, fitted, events, stop)


def load_data(spec: TrainSpec, events: EventWriter, stop: Stop) -> RetrievalData:
    """Read the questions and answers and turn them into ids. Raises ProgramFailure, Stopped."""
    answered = read_answered(spec, events)
    known = [answered.questions[row] for row in answered.known]
    encoder = choose_encoder(spec.hyperparameters, known + answered.answers)
    store = encode_all(encoder, answered.questions + answered.answers, partial(_report_loading, events, stop))
    events.log(
        f"{len(known):,} questions that lead to {len(np.unique(answered.answer_of[answered.known])):,} of "
        f"{len(answered.answers):,} answers, told apart by {encoder.ids_in_all - 1:,} features."
    )
    index = AnswerIndex.of(answered.answer_of[answered.known], known, answered.answers)
    return RetrievalData(answered, encoder, store, index)


def _report_loading(events: EventWriter, stop: Stop, share: float) -> None:
    stop.check()
    events.progress(LOADING[0] + (LOADING[1] - LOADING[0]) * share, "Reading questions and answers")


def choose_encoder(settings: dict[str, Any], texts: list[str]) -> TextEncoder:
    """Bags of words and of runs of characters, with room for what these texts repeat, or as the settings say."""
    characters, own = settings["max_characters"], settings["buckets"]
    sample = texts[:: max(1, len(texts) // SAMPLED_TEXTS)]
    words, runs = (
        own or table_size(TextEncoder(0, *buckets, characters), sample, FEWEST_TEXTS_IN_BAG)
        for buckets in ((COUNTING_BUCKETS, 0), (0, COUNTING_BUCKETS))
    )
    return TextEncoder(0, words, runs, characters)


def fit_model(model: Tower, data: RetrievalData, spec: TrainSpec, events: EventWriter, stop: Stop) -> FitResult:
    settings, answered = spec.hyperparameters, data.answered
    lefts, rights = make_pairs(answered.known, answered.answer_of, len(answered.questions), settings["seed"])
    targets = torch.from_numpy(np.stack([answered.groups[lefts], answered.answer_of[lefts]], axis=1))
    columns = len(data.index.whole) + len(data.index.known)
    return fit_network(
        model,
        Batches(
            [Chosen(data.store, lefts), Chosen(data.store, rights)],
            targets,
            choose_batch_size(settings["batch_size"], len(lefts)),
            settings["seed"],
        ),
        partial(evaluate, data=data, watch=Watch.of(answered.judged("val"), columns), device=spec.device),
        contrastive_loss(),
        spec,
        events,
        stop,
    )


def evaluate(model: Tower, data: RetrievalData, watch: Watch, device: str) -> Evaluation:
    """How well the vectors alone find the answers of validation questions. The epoch with the lowest loss is kept:
    which answer comes first says little of few questions."""
    index = filled_index(model, data, device)
    found = watch.look(index, judged_vectors(model, data, watch.judged, device))
    return Evaluation(-found["loss"], {name: found[name] for name in ("loss", "recall_at_1", "mrr")})


def filled_index(model: Tower, data: RetrievalData, device: str) -> AnswerIndex:
    known, own = (
        vectors_of(model, data.store, rows, device, EVALUATED_TEXTS)
        for rows in (data.answered.known, data.answer_rows)
    )  # fmt: skip
    return data.index.with_vectors(known, own)


def judged_vectors(model: Tower, data: RetrievalData, judged: Judged, device: str) -> np.ndarray:
    store = Ragged([data.encoder.ids(text) for text in judged.texts])
    return vectors_of(model, store, np.arange(len(judged)), device, EVALUATED_TEXTS)


def write_output(
    spec: TrainSpec, data: RetrievalData, model: Tower, arguments: dict[str, Any], fitted: FitResult,
    events: EventWriter, stop: Stop,
) -> dict[str, Any]:  # fmt: skip
    """Choose the mixture and the threshold on validation questions, measure, and write the model and result.json."""
    output = Path(spec.work_dir) / OUTPUT_FOLDER
    folder = output / "model"
    folder.mkdir(parents=True, exist_ok=True)
    index = filled_index(model, data, spec.device)
    judged = {split: data.answered.judged(split) for split in ("val", "test") if len(data.answered.splits[split])}
    vectors = {split: judged_vectors(model, data, asked, spec.device) for split, asked in judged.items()}
    stop.check()
    events.progress(0.94, "Mixing words and vectors")
    learned = learn(index, judged["val"], vectors["val"])
    events.log(
        f"Vectors count {learned.mixture.vectors:.0%} beside words, an answer as a whole {learned.mixture.whole:.0%} "
        f"beside its nearest question; below {learned.certainty.threshold:.2f} it says that it does not know."
    )
    stop.check()
    events.progress(0.96, "Measuring")
    told = {split: judge_split(learned, asked, vectors[split]) for split, asked in judged.items()}
    write_files(model.cpu(), learned.index, data.answered, folder)
    meta = describe_model(spec, data.answered, data.encoder, arguments, learned)
    write_json(meta, folder / "meta.json")
    result = describe_result(model, fitted, data.answered, learned, told, judged)
    write_json(meta | {"metrics": result["metrics"]}, folder / "meta.json")
    predictor = load_predictor(folder, spec.threads)
    check_served(predictor, judged["val"], vectors["val"])
    record_answer(predictor, folder)
    result["model_bytes"] = sum(path.stat().st_size for path in folder.iterdir())
    write_json(result, output / "result.json")
    return {"metrics": result["metrics"], "seconds": result["seconds"], "parameters": result["parameters"]}


def learn(index: AnswerIndex, judged: Judged, vectors: np.ndarray) -> Learned:
    """What is chosen on validation questions, of some from all over where there are many."""
    places = judged.places(TUNED_QUESTIONS)
    some = judged.at(places)
    mixture = choose_mixture(index, some, vectors[places])
    return Learned(index, mixture, fit_certainty(ask_all(index, mixture, some, vectors[places])))
