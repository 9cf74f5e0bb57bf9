"""Compressions whose program is played by the test: what it says is written as the runner writes it."""

import json
from pathlib import Path

from apps.accounts.models import Team, User
from apps.jobs import attempts
from apps.jobs.candidates import record_candidate
from apps.jobs.compressing import submit_compression
from apps.jobs.models import Candidate, Job
from apps.registry.models import ModelVersion
from apps.registry.services import register_version
from apps.resources.models import Node
from tests.jobs.making import DIGITS, make_version, run, store

META = {"classes": DIGITS, "input": {"kind": "image", "height": 8, "width": 8, "channels": 1}}
INT8 = [{"method": "quantise", "scheme": "int8"}]
HALF = [{"method": "prune_channels", "amount": 0.5}, *INT8]


def make_trained(team: Team, user: User | None = None, name: str = "Digits", **lineage) -> ModelVersion:
    """A version that was trained on data of the team."""
    data = make_version(team, name)
    known = {"dataset": str(data), "dataset_version_id": data.pk, "content_hash": data.content_hash, "method": ""}
    return register_version(
        team=team, user=user, model_name=name, task="image_classification", meta=META,
        metrics={"test": {"accuracy": 0.975}}, lineage=known | lineage, files={},
    )  # fmt: skip


def compress(version: ModelVersion, node: Node, user: User | None = None, **choices) -> Job:
    """Queue it and let it run."""
    return run(submit_compression(team=version.model.team, user=user, base_version=version, **choices), node)


def figures(accuracy: float, size: int, latency: float, **changes) -> dict:
    return {
        "metrics": {"accuracy": accuracy, "macro_f1": accuracy - 0.01}, "interval": [accuracy - 0.02, accuracy + 0.01],
        "split": "test", "rows": 179, "bytes": size, "memory_bytes": 10 * size, "latency_p50_ms": latency,
        "latency_p99_ms": 2 * latency, "throughput": 1000 / latency, "parity": 1e-5, "validation": accuracy, **changes,
    }  # fmt: skip


# fmt: off
ORIGINAL = {"number": 0, "name": "as it is", "recipe": [], "figures": figures(0.975, 640_000, 0.8), "verdict": "within"}
SMALL = {"number": 1, "name": "int8", "recipe": INT8, "figures": figures(0.972, 180_000, 0.5), "verdict": "within"}
TINY = {"number": 2, "name": "50% of channels removed, int8", "recipe": HALF, "figures": figures(0.94, 60_000, 0.3),
        "verdict": "over", "reason": "It loses 3.5 points; 1 is allowed.", "notes": ["Fine-tuned for 8 epochs."]}
FAILED = {"number": 3, "name": "16 shared values", "recipe": [{"method": "share"}], "figures": {}, "verdict": "failed",
          "reason": "A layer has no weights to share."}
# fmt: on


def tell(job: Job, folder: Path, *told: dict) -> list[Candidate]:
    """The program has measured these; those that could be made have files."""
    for event in told:
        files = {}
        if event["number"] and event["verdict"] != "failed":
            body = {**META, "compression": {"recipe": event["recipe"]}}
            files = {
                "model.onnx": store(folder, "model.onnx", f"graph {event['name']}".encode()),
                "meta.json": store(folder, "meta.json", json.dumps(body).encode()),
            }
        assert record_candidate(job_id=job.pk, attempt=job.attempt, event=event, files=files)
    return list(job.candidates.order_by("number"))


def result_of(chosen: dict | None, **changes) -> dict:
    return {
        "chosen": chosen and chosen["number"], "front": [0, 1], "verdict": "improved" if chosen else "not_improved",
        "reasons": ["It is 3.6 times smaller."] if chosen else ["Nothing within the limit is smaller or faster."],
        "ratios": {"size": 3.6, "speed": 1.6} if chosen else {}, "before": ORIGINAL["figures"],
        "after": chosen and chosen["figures"], "metrics": {"test": chosen["figures"]["metrics"]} if chosen else {},
        "meta": {**META, "compression": {"recipe": chosen["recipe"]}} if chosen else {}, **changes,
    }  # fmt: skip


def end(job: Job, folder: Path, chosen: dict | None, **changes) -> Job:
    """It ends well, with `chosen` as its best or with none."""
    outputs = {"model/model.onnx": store(folder, "model.onnx", f"graph {chosen['name']}".encode())} if chosen else {}
    result = result_of(chosen, **changes)
    assert attempts.succeed_job(job=job, attempt=job.attempt, result=result, outputs=outputs)
    job.refresh_from_db()
    return job
