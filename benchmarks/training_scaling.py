"""How much faster two processes of one thread each train together than one: DDP under torchrun, on this machine.

With batch statistics of the whole batch, which trains what one process would, and with each process's own.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.training_contestants import Options
from workers.contract import IMAGE_CLASSIFICATION, OUTPUT_FOLDER, TrainSpec, write_spec
from workers.parallel.plan import DDP, OWN, WHOLE, ParallelPlan
from workers.training.hyperparameters import resolve

ROUNDS = 3
PROCESSES = 2


def measure_scaling(options: Options, folder: Path) -> dict[str, float]:
    """Samples per second of two processes over twice those of one, each with `options.batch_size` examples a step, by
    what they normalise with (OWN or WHOLE). Empty, with the reason printed, where they cannot train together.
    """
    contestants = {"one process": (1, WHOLE), OWN: (PROCESSES, OWN), WHOLE: (PROCESSES, WHOLE)}
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, (processes, statistics_of) in contestants.items():
            speed = _samples_per_second(options, folder / f"{name}-{number}", processes, statistics_of)
            if speed is None:
                return {}
            found[name].append(speed)
        speeds = ", ".join(f"{name} {speeds[-1]:.0f}" for name, speeds in found.items())
        print(f"round {number + 1}, samples/s: {speeds}", flush=True)
    alone = PROCESSES * statistics.median(found.pop("one process"))
    return {name: statistics.median(speeds) / alone for name, speeds in found.items()}


def _samples_per_second(options: Options, work: Path, processes: int, batch_statistics: str) -> float | None:
    work.mkdir()
    settings = {
        "model": "resnet_tiny", "epochs": options.epochs, "batch_size": processes * options.batch_size,
        "image_size": options.side, "augmentation": options.augmentation, "mixed_precision": "no", "compile": "off",
    }  # fmt: skip
    plan = ParallelPlan(DDP, processes, own_statistics=batch_statistics == OWN) if processes > 1 else ParallelPlan()
    spec = TrainSpec(
        work_dir=str(work),
        task=IMAGE_CLASSIFICATION,
        data_path=str(Path(options.folder) / "data.zip"),
        index_path=str(Path(options.folder) / "index.jsonl"),
        hyperparameters=resolve(IMAGE_CLASSIFICATION, "fast", settings),
        plan=plan.as_dict(),
    )
    write_spec(spec, work / "spec.json")
    starter = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, "-m", *(starter if processes > 1 else []), "workers.training", str(work / "spec.json")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[1], capture_output=True, text=True)
    if done.returncode:
        print(f"{processes} processes cannot train together here:\n{done.stderr[-1500:]}")
        return None
    return json.loads((work / OUTPUT_FOLDER / "result.json").read_text())["samples_per_second"]
