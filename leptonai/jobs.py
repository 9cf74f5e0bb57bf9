"""Jobs: trainings, compressions, fusions and predictions."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from leptonai.errors import Failed
from leptonai.records import Record
from leptonai.resource import Resource, all_pages, last, save_file
from leptonai.uploads import upload_file


class Jobs(Resource):
    """Trainings, compressions, fusions, predictions of whole files, and data checks."""

    path = "/api/v1/jobs/"

    def create(self, kind: str, **fields: Any) -> Record:
        """`kind` "train": dataset, version, model_name, task, target, preset, hyperparameters; "compress": model,
        version, settings; "fuse": versions, method, model_name; "predict": see `predict`. All: where and how, see
        `change`."""
        return self._http.request("POST", self.path, json={"kind": kind, **fields})

    def train(self, dataset: int | str, **fields: Any) -> Record:
        """Train on a data set (its id or name). With several `devices`, `strategy` is "auto", "single", "ddp", "fsdp",
        "pipeline" or "local_sgd"; see `plan` for what the site would choose."""
        return self.create("train", dataset=dataset, **fields)

    def starts(self, task: str = "text_classification") -> list[Record]:
        """The site's pretrained checkpoints that a training of `task` can start from: `train(data, hyperparameters=
        {"start_from": starts[0].name})`. A checkpoint of the hub is written as owner/name, @revision behind it for a
        certain one. `told` has the hyper-parameters by which it is told of languages, and the codes that each may
        be."""
        return self._http.request("GET", f"{self.path}starts/", params={"task": task})

    def plan(self, dataset: int | str, *, devices: int = 1, strategy: str = "auto", **fields: Any) -> Record:
        """How a training would be spread over devices, what a step would take, and why not otherwise; nothing starts.
        `plan.is_measured` is False while the figures are estimated, `plan.is_measuring` True while that will change."""
        body = {"dataset": dataset, "devices": devices, "strategy": strategy, **fields}
        return self._http.request("POST", f"{self.path}plan/", json=body)

    def compress(
        self,
        model: int | str,
        *,
        limit_points: float = 1.0,
        favour: str = "both",
        recipes: Sequence[Sequence[Mapping[str, Any]]] = (),
        settings: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Record:
        """Make smaller models of one (its id or name; the newest version unless `version` is given) and keep the best
        that loses at most `limit_points` points of accuracy (per cent of the error of a regression).

        `favour` is "size", "latency" or "both". Each of `recipes` is a list of steps, such as
        [{"method": "prune_channels", "amount": 0.5}, {"method": "quantise"}]; without any, the site searches for good
        ones. `settings` has the rest by name: trials, seconds, seed ... The job succeeds whether or not something
        better was found: `result.verdict` is "improved" or "not_improved". See `candidates` for all that it measured.
        """
        chosen = {"limit_points": limit_points, "favour": favour, "recipes": [list(steps) for steps in recipes]}
        return self.create("compress", model=model, settings={**chosen, **(settings or {})}, **fields)

    def candidates(self, reference: int | Mapping) -> list[Record]:
        """What a compression has made and measured so far, by number; 0 is the original. Each has its recipe, figures,
        verdict ("within", "over", "no_gain", "failed") and reason, and the `model` version it was kept as."""
        return all_pages(self._http, f"{self.path}{self._id(reference)}/candidates/")

    def keep(self, reference: int | Mapping, number: int) -> Record:
        """Make a model version of a candidate, while the job runs or after its end. Raises ConflictError for one that
        could not be made."""
        return self._http.request("POST", f"{self.path}{self._id(reference)}/candidates/{number}/keep/", json={})

    def fuse(self, versions: Sequence, *, method: str = "greedy", **fields: Any) -> Record:
        """Make one model of several versions, each a model's id or name (its newest version), a pair such as
        ("digits", 3), or the `model` of a job that made it.

        `method` is "greedy", "uniform", "weighted" or, for tables too, "ensemble". The job succeeds whether or not that
        helped: `result.verdict` is "improved" or "not_improved", and only an improvement has a `model`.
        """
        return self.create("fuse", versions=[_version(item) for item in versions], method=method, **fields)

    def predict(
        self,
        model: int | str,
        *,
        dataset: int | str | None = None,
        file: str | Path | None = None,
        version: int | None = None,
        split: str = "",
        class_columns: bool = False,
        ranked_by: str = "",
        top: float = 100.0,
        **fields: Any,
    ) -> Record:
        """Ask a model (its id or name; the newest version unless `version` is given) about a whole data set, or about
        a file of yours: CSV, TSV or JSON Lines for tables and texts, a ZIP for images.

        Of a data set the newest version is asked, `split` of it or all. With `ranked_by`, a class or the target of a
        regression, targets.csv lists the `top` per cent for which it is highest, highest first. The job's `result`
        counts rows and errors, and has `metrics` where the right answers are known; `download` saves the files.
        """
        chosen = {"dataset": dataset, "version": version}
        sources = {name: value for name, value in chosen.items() if value is not None}
        if file is not None:
            sources["upload"] = upload_file(self._http, Path(file))["id"]
        fields |= {"ranked_by": ranked_by, "top": top} if ranked_by else {}
        return self.create("predict", model=model, split=split, class_columns=class_columns, **sources, **fields)

    def download(self, reference: int | Mapping, folder: str | Path) -> list[Path]:
        """Save what a prediction answered into `folder`, predictions.csv and predictions.jsonl; returns their paths."""
        job = self.get(reference)
        path = f"{self.path}{job['id']}/files/"
        return [save_file(self._http, f"{path}{item['name']}", Path(folder) / item["name"]) for item in job["files"]]

    def follow(self, reference: int | Mapping, *, timeout: float | None = None) -> Iterator[Record]:
        """The job each time it has changed, until it has ended; a paused one has not."""
        return self._follow(reference, lambda job: job["status"] in ("succeeded", "failed", "cancelled"), timeout)

    def wait(self, reference: int | Mapping, *, timeout: float | None = None) -> Record:
        """Until the job has succeeded. Raises Failed with the site's code, sentence and hint."""
        return require_success(last(self.follow(reference, timeout=timeout)))

    def change(self, reference: int | Mapping, **terms: Any) -> Record:
        """Let a job that waits ask for something else; what is left out stays, and it keeps its age in the queue.

        `pool` (a name), `devices`, `device_kind` ("" is any), `cpu` (cores), `memory` (GB), `priority` ("low",
        "normal", "high"), `preemptible`, `bid` (credits for a device-hour, in a pool that is auctioned).
        `job.waiting.would_help` has changes that let it start sooner. Raises ConflictError once it waits no more.
        """
        return self._http.request("PATCH", f"{self.path}{self._id(reference)}/", json=terms)

    def cancel(self, reference: int | Mapping) -> Record:
        return self._http.request("POST", f"{self.path}{self._id(reference)}/cancel/", json={})

    def pause(self, reference: int | Mapping) -> Record:
        """Let a training rest: it writes a checkpoint, gives its devices back, and is "paused" within seconds. Raises
        ConflictError for what has ended or has no checkpoints."""
        return self._http.request("POST", f"{self.path}{self._id(reference)}/pause/", json={})

    def resume(self, reference: int | Mapping) -> Record:
        """Put a paused job back in the queue; it goes on from its newest checkpoint."""
        return self._http.request("POST", f"{self.path}{self._id(reference)}/resume/", json={})

    def clone(self, reference: int | Mapping, **changes: Any) -> Record:
        """Run a job again, with `changes` otherwise: what `create` takes. Of `hyperparameters` only those that are
        named change."""
        return self._http.request("POST", f"{self.path}{self._id(reference)}/clone/", json=changes)

    def extend(self, reference: int | Mapping, *, epochs: int = 5, checkpoint: int | Mapping | None = None) -> Record:
        """Train a training that has ended for `epochs` more: a new job, which makes the model's next version.

        It goes on from `checkpoint`, one of `job.checkpoints`; the newest unless given. The best epoch so far competes
        with the new ones. Raises ConflictError where it cannot go on.
        """
        chosen = {} if checkpoint is None else {"checkpoint": self._id(checkpoint)}
        return self._http.request(
            "POST", f"{self.path}{self._id(reference)}/extend/", json={"epochs": epochs, **chosen}
        )

    def repeat(self, reference: int | Mapping, *, count: int = 4) -> list[Record]:
        """Train again `count` times (up to 9), each with another seed: new jobs, which make the model's next versions.
        `client.models.spread` says what came of them. Raises ConflictError for what was not trained from the
        beginning."""
        return self._http.request("POST", f"{self.path}{self._id(reference)}/repeat/", json={"count": count})

    def metrics(self, reference: int | Mapping, *, after: int = 0) -> Record:
        """Points of the curves with an id above `after`."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/metrics/", params={"after": after})

    def logs(self, reference: int | Mapping, *, after: int = 0) -> Record:
        """Log lines with an id above `after`."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/logs/", params={"after": after})


def require_success(job: Record) -> Record:
    """The job, or Failed."""
    if job["status"] == "failed":
        failure = job["failure"]
        raise Failed(failure["message"], code=failure["code"], hint=failure.get("hint", ""))
    if job["status"] == "cancelled":
        raise Failed("The job was cancelled.", code="cancelled")
    return job


def _version(item: int | str | tuple | Mapping) -> dict[str, Any]:
    """{"model", "version"} as the site takes it."""
    if isinstance(item, Mapping):
        return {"model": item["id"], "version": item["version"]}
    if isinstance(item, tuple):
        return {"model": item[0], "version": item[1]}
    return {"model": item}
