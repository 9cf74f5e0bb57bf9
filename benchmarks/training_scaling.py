"""How much faster two processes of one thread each train together than one: DDP under torchrun, on this machine."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.training_contestants import Options
from workers.contract import IMAGE_CLASSIFICATION, OUTPUT_FOLDER, TrainSpec, write_spec
from workers.parallel.plan import DDP, ParallelPlan
from workers.training.hyperparameters import resolve

ROUNDS = 3
PROCESSES = 2


def measure_scaling(options: Options, folder: Path) -> float | None:
    """Samples per second of two processes over twice those of one, each with `options.batch_size` examples a step.

    None, with the reason printed, where they cannot train together.
    """
    alone, together = [], []
    for number in range(ROUNDS):
        alone.append(_samples_per_second(options, folder / f"alone-{number}", 1))
        together.append(_samples_per_second(options, folder / f"together-{number}", PROCESSES))
        if together[-1] is None or alone[-1] is None:
            return None
        print(f"round {number + 1}, one process {alone[-1]:.0f} samples/s, two {together[-1]:.0f}", flush=True)
    return statistics.median(together) / (PROCESSES * statistics.median(alone))


def _samples_per_second(options: Options, work: Path, processes: int) -> float | None:
    work.mkdir()
    settings = {
        "model": "resnet_tiny", "epochs": options.epochs, "batch_size": processes * options.batch_size,
        "image_size": options.side, "augmentation": options.augmentation, "mixed_precision": "no", "compile": "off",
    }  # fmt: skip
    spec = TrainSpec(
        work_dir=str(work),
        task=IMAGE_CLASSIFICATION,
        data_path=str(Path(options.folder) / "data.zip"),
        index_path=str(Path(options.folder) / "index.jsonl"),
        hyperparameters=resolve(IMAGE_CLASSIFICATION, "fast", settings),
        plan=ParallelPlan(DDP, processes).as_dict() if processes > 1 else {},
    )
    write_spec(spec, work / "spec.json")
    starter = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, "-m", *(starter if processes > 1 else []), "workers.training", str(work / "spec.json")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[1], capture_output=True, text=True)
    if done.returncode:
        print(f"{processes} processes cannot train together here:\n{done.stderr[-1500:]}")
        return None
    return json.loads((work / OUTPUT_FOLDER / "result.json").read_text())["samples_per_second"]
