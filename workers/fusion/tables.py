"""Table models as one that answers with the mean of their probabilities, or of their values.

Serving knows blends already: shares of a graph and of trees. The graphs of all models become one, each model's trees
stay a group of their own, and the shares are those they had in their models, divided among these. Classifiers are mixed
as they are before their temperatures, and the mixture gets one of its own: a mean is less sure than what it is made of.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper, version_converter
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from workers.compression.samples import Samples
from workers.contract import ENSEMBLE, ProgramFailure, TrainSpec
from workers.fusion.mixing import equal_weights
from workers.fusion.work import Answers, Fused, Work, refuse, require_alike
from workers.inference.files import NETWORK_PREFIX, ONNX_FILE, TREES, TREES_FILE, load_trees, shares_of, tree_groups
from workers.inference.outcomes import tempered
from workers.inference.predictor import load_predictor
from workers.training.calibration import temperature_that_helps
from workers.training.tables.data import Table, load_table
from workers.training.tables.heldout import read_heldout, write_heldout
from workers.trees import Arrays

PARITY_ROWS = 500
PARITY_TOLERANCE = 1e-4
SPEED_ROWS = 64


def fuse(work: Work) -> Fused:
    """Write the ensemble's files and ask all models. Raises Stopped and ProgramFailure."""
    check(work)
    work.report(0.05, "Reading the table")
    table = load_data(work)
    rows, predicted = read_answers(work, table)
    mixed, temperature = mix_answers(work, predicted, original_targets(table, rows))
    work.report(0.3, "Putting the models together")
    meta = write_files(work, temperature)
    fused = load_predictor(work.folder, work.spec.threads)
    check_parity(work, fused, table)
    write_heldout(work.folder, rows, mixed)
    answers = {"val": Answers(original_targets(table, rows), [*predicted, mixed])}
    test = table.splits["test"]
    if len(test):
        work.report(0.5, "Asking the models")
        asked = [table.rows[number] for number in test]
        everyone = [*work.predictors, fused]
        answers["test"] = Answers(original_targets(table, test), [model.predict(asked) for model in everyone])
    shown = (test if len(test) else rows)[:SPEED_ROWS]
    samples = Samples([table.rows[number] for number in shown], original_targets(table, shown))
    return Fused(meta, equal_weights(len(work.metas)), answers, samples, temperature)


def check(work: Work) -> None:
    if work.spec.method != ENSEMBLE:
        message = "Only image models are fused by averaging weights: trees have no weights that could be averaged."
        raise refuse("unknown_method", message, hint=f"Use {ENSEMBLE}.")
    require_alike(work, "target", [meta["target"] for meta in work.metas])
    require_alike(work, "reading of the columns", [meta["encoder"] for meta in work.metas])
    for model in work.spec.models:
        if not model.is_same_data:
            message = f"{model.name} was trained on other rows, so its answers cannot be judged beside the others'."
            raise refuse("other_data", message, hint="Choose versions that were trained on the same data.")


def load_data(work: Work) -> Table:
    """The table as the models were trained on it."""
    spec, meta = work.spec, work.metas[0]
    target = spec.target or meta["target"]
    settings = {"seed": 0}  # it only says which rows validate where no split does, and held-out answers say it here
    training = TrainSpec(spec.work_dir, spec.task, spec.data_path, spec.index_path, settings, target)
    table = load_table(training, work.events)
    if list(table.target.classes) != meta.get("classes", []):
        message = "The data set does not have the classes that the models know."
        raise ProgramFailure("other_classes", message, hint="Use the data set that the models were trained on.")
    return table


def read_answers(work: Work, table: Table) -> tuple[np.ndarray, list[np.ndarray]]:
    """The rows that every model answered without having been trained on them, and each model's answers to them. Raises
    ProgramFailure no_heldout_answers."""
    found = []
    for model, folder in zip(work.spec.models, work.folders, strict=True):
        try:
            found.append(read_heldout(folder))
        except (OSError, SafetensorError) as error:
            message = f"{model.name} does not have its answers about held-out rows, by which a fused model is judged."
            raise refuse("no_heldout_answers", message, hint="Train it again, then fuse.") from error
    rows = reduce(np.intersect1d, [numbers for numbers, _ in found])
    if not len(rows) or rows[-1] >= len(table.rows):
        message = "There is no row that all these models have answered without having been trained on it."
        raise refuse("no_heldout_answers", message, hint="Train them again on the same data, then fuse.")
    return rows, [answers[np.searchsorted(numbers, rows)] for numbers, answers in found]


def mix_answers(work: Work, predicted: list[np.ndarray], targets: np.ndarray) -> tuple[np.ndarray, float]:
    """What all models answer together to rows with `targets` [N], and the temperature of that; 1 for a regression."""
    before = [tempered(each, 1 / model.temperature) for each, model in zip(predicted, work.predictors, strict=True)]
    mixed = np.mean(before, axis=0)
    temperature = temperature_that_helps(mixed, targets) if mixed.ndim == 2 else 1.0
    return tempered(mixed, temperature), temperature


def original_targets(table: Table, rows: np.ndarray) -> np.ndarray:
    targets = table.targets[rows]
    return targets if table.target.classes else table.target.original(targets)


# The files


def write_files(work: Work, temperature: float) -> dict[str, Any]:
    """Write the sample, the arrays, the graph and the meta without metrics; returns the meta."""
    first = work.metas[0]
    (work.folder / first["sample"]).write_text((work.folders[0] / first["sample"]).read_text())
    arrays, blend, graphs = collect_parts(work)
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, work.folder / TREES_FILE)
    if graphs:
        blend["onnx"] = sum(share for share, _ in graphs)
        onnx.save(mix_graphs([(share / blend["onnx"], graph) for share, graph in graphs]), work.folder / ONNX_FILE)
    kept = {name: value for name, value in first.items() if name not in ("blend", "runtime", "metrics", "temperature")}
    alone = list(blend) == ["onnx"]
    meta = kept | {"architecture": ENSEMBLE} | ({"runtime": "onnx"} if alone else {"runtime": "blend", "blend": blend})
    if "classes" in meta:
        meta["temperature"] = temperature
    work.write_meta(meta)
    return meta


def collect_parts(work: Work) -> tuple[Arrays, dict[str, float], list[tuple[float, onnx.ModelProto]]]:
    """All models' arrays under names of their own, the share of each group of trees, and graphs with their shares."""
    arrays: Arrays = {}
    blend: dict[str, float] = {}
    graphs = []
    for number, (folder, meta) in enumerate(zip(work.folders, work.metas, strict=True)):
        shares = {part: share / len(work.metas) for part, share in shares_of(meta).items()}
        for group in tree_groups(meta):
            name = str(len(blend))
            blend[f"{TREES}.{name}"] = shares[f"{TREES}.{group}" if group else TREES]
            arrays |= {f"{name}.{key}": value for key, value in load_trees(folder / TREES_FILE, group).items()}
        if "onnx" in shares:
            graphs.append((shares["onnx"], onnx.load(folder / ONNX_FILE)))
            arrays |= network_weights(folder, number)
    return arrays, blend, graphs


def network_weights(folder: Path, number: int) -> Arrays:
    """The weights that serving reads from the graph, under the number of their model."""
    stored = load_file(folder / TREES_FILE).items()
    inner = {name.removeprefix(NETWORK_PREFIX): value for name, value in stored if name.startswith(NETWORK_PREFIX)}
    return {f"{NETWORK_PREFIX}{number}.{name}": value for name, value in inner.items()}


def mix_graphs(graphs: list[tuple[float, onnx.ModelProto]]) -> onnx.ModelProto:
    """One graph whose answer is the weighted sum of the answers of all, to the same inputs."""
    opset = max(item.version for _, model in graphs for item in model.opset_import if not item.domain)
    ir = max(model.ir_version for _, model in graphs)
    nodes, constants, terms = [], [], []
    for number, (share, model) in enumerate(graphs):
        prefix = f"m{number}_"
        part = version_converter.convert_version(model, opset)
        part = compose.add_prefix(part, prefix, rename_inputs=False)
        nodes += part.graph.node
        constants += part.graph.initializer
        constants.append(numpy_helper.from_array(np.float32(share), f"{prefix}share"))
        nodes.append(helper.make_node("Mul", [part.graph.output[0].name, f"{prefix}share"], [f"{prefix}term"]))
        terms.append(f"{prefix}term")
    first = graphs[0][1].graph
    output = onnx.ValueInfoProto()
    output.CopyFrom(first.output[0])
    nodes.append(helper.make_node("Sum", terms, [output.name]))
    graph = helper.make_graph(nodes, "ensemble", list(first.input), [output], constants)
    mixed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.checker.check_model(mixed)
    return mixed


def check_parity(work: Work, fused: Any, table: Table) -> None:
    """Raises ProgramFailure export_differs if the files answer unlike the mean of the models."""
    encoded = fused.encode([table.rows[number] for number in table.development[:PARITY_ROWS]])
    expected = np.mean([predictor.mixed(encoded) for predictor in work.predictors], axis=0)
    gap = np.abs(fused.mixed(encoded) - expected).max()
    if not gap <= PARITY_TOLERANCE * max(1.0, np.abs(expected).max()):
        message = f"The fused model's predictions differ from the mean of the models' by {gap:.3g}."
        raise ProgramFailure("export_differs", message, hint="Fuse again; if it stays, report it.", blame="machine")
