"""The things at the site: list, get, create, wait, follow."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from leptonai.errors import Failed, NotFoundError, WaitTimeout
from leptonai.records import Record
from leptonai.transport import Http
from leptonai.uploads import Progress, upload_file

POLL_SECONDS = 0.5
FileArgument = str | Path | Sequence[str | Path] | Mapping[str, str | Path]


class Resource:
    """One kind of thing. `reference` is an id, a name, or a record of it."""

    path = ""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self, **filters: Any) -> list[Record]:
        """All of the team's, newest first; filters such as name="digits" or status="running"."""
        return _all_pages(self._http, self.path, **filters)

    def get(self, reference: int | str | Mapping) -> Record:
        """Raises NotFoundError."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/")

    def _id(self, reference: int | str | Mapping) -> int:
        if isinstance(reference, Mapping):
            return reference["id"]
        if isinstance(reference, int):
            return reference
        page = self._http.request("GET", self.path, params={"name": reference})
        if not page["results"]:
            raise NotFoundError(f'There is nothing called "{reference}" here.', status=404, code="not_found")
        return page["results"][0]["id"]

    def _follow(self, reference: Any, is_done: Callable[[Record], bool], timeout: float | None) -> Iterator[Record]:
        """The thing each time it has changed, until it is done. Raises WaitTimeout after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        reference = self._id(reference)
        last = None
        while True:
            record = self.get(reference)
            if record != last:
                yield record
            if is_done(record):
                return
            if deadline is not None and time.monotonic() > deadline:
                raise WaitTimeout(f"{self.path} {reference} is not done after {timeout:g} s; it goes on at the site.")
            last = record
            time.sleep(POLL_SECONDS)


class Datasets(Resource):
    """Data sets and their frozen versions."""

    path = "/api/v1/datasets/"

    def create(
        self,
        name: str,
        files: FileArgument,
        *,
        target: str = "",
        description: str = "",
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Record:
        """Upload `files` and make a data set of them; it is checked at the site from then on (see `wait`).

        `files` is one path, several, or {"train": path, "val": path, "test": path} where you have split it yourself.
        `on_progress` hears of every chunk. An upload goes on where a dropped connection left it.
        """
        uploads = [
            {"id": upload_file(self._http, path, on_progress)["id"], **({"split": split} if split else {})}
            for path, split in _with_splits(files)
        ]
        body = {"name": name, "description": description, "target": target, "uploads": uploads}
        return self._http.request("POST", self.path, json=body)

    def follow(self, reference: int | str | Mapping, *, timeout: float | None = None) -> Iterator[Record]:
        """The data set each time it has changed, until its newest version is checked."""
        return self._follow(reference, lambda record: record["latest_version"]["status"] != "checking", timeout)

    def wait(
        self, reference: int | str | Mapping, *, timeout: float | None = None, leave_out_bad: bool = False
    ) -> Record:
        """Until the newest version is ready. Raises Failed, which names bad files unless `leave_out_bad`."""
        record = _last(self.follow(reference, timeout=timeout))
        version = record["latest_version"]
        if version["status"] == "needs_review":
            if not leave_out_bad:
                raise _needs_review(record)
            self._http.request("POST", f"{self.path}{record['id']}/versions/{version['number']}/accept/")
            return self.get(record)
        if version["status"] == "rejected":
            error = version["error"]
            raise Failed(error["message"], code=error["code"], hint=error["hint"])
        return record

    def download(
        self,
        reference: int | str | Mapping,
        folder: str | Path,
        *,
        version: int | None = None,
        names: Sequence[str] | None = None,
    ) -> list[Path]:
        """Save the frozen files of a version (the newest unless given) into `folder`: the data, and the index that
        says what is in which split. Only `names` where they are given."""
        dataset = self.get(reference)
        number = version or dataset["latest_version"]["number"]
        record = self._http.request("GET", f"{self.path}{dataset['id']}/versions/{number}/")
        names = names or [item["name"] for item in record["files"]]
        return [
            save_file(self._http, f"{self.path}{dataset['id']}/versions/{number}/files/{name}", Path(folder) / name)
            for name in names
        ]

    def delete(self, reference: int | str | Mapping) -> None:
        self._http.request("DELETE", f"{self.path}{self._id(reference)}/")


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
        return _all_pages(self._http, f"{self.path}{self._id(reference)}/candidates/")

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
        **fields: Any,
    ) -> Record:
        """Ask a model (its id or name; the newest version unless `version` is given) about a whole data set, or about
        a file of yours: CSV, TSV or JSON Lines for tables and texts, a ZIP for images.

        Of a data set the newest version is asked, `split` of it or all. The job's `result` counts rows and errors, and
        has `metrics` where the right answers are known; `download` saves the files with the answers.
        """
        chosen = {"dataset": dataset, "version": version}
        sources = {name: value for name, value in chosen.items() if value is not None}
        if file is not None:
            sources["upload"] = upload_file(self._http, Path(file))["id"]
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
        return require_success(_last(self.follow(reference, timeout=timeout)))

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

    def metrics(self, reference: int | Mapping, *, after: int = 0) -> Record:
        """Points of the curves with an id above `after`."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/metrics/", params={"after": after})

    def logs(self, reference: int | Mapping, *, after: int = 0) -> Record:
        """Log lines with an id above `after`."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/logs/", params={"after": after})


class Models(Resource):
    """The registry."""

    path = "/api/v1/models/"

    def version(self, reference: int | str | Mapping, number: int) -> Record:
        return self._http.request("GET", f"{self.path}{self._id(reference)}/versions/{number}/")

    def download(self, reference: int | str | Mapping, folder: str | Path, *, version: int | None = None) -> list[Path]:
        """Save every file of a version (the newest unless given) into `folder`; returns their paths."""
        model = self.get(reference)
        number = version or model["versions"][0]["number"]
        return [
            save_file(
                self._http,
                f"{self.path}{model['id']}/versions/{number}/files/{item['name']}",
                Path(folder) / Path(item["name"]).name,
            )
            for item in self.version(model, number)["files"]
        ]


class Deployments(Resource):
    """What is served."""

    path = "/api/v1/deployments/"

    def create(
        self,
        model: int | str,
        *,
        version: int | None = None,
        name: str = "",
        is_public: bool = False,
        page: str = "",
        page_settings: Mapping[str, Any] | None = None,
    ) -> Record:
        """Deploy a model (its id or name; the newest version unless given). See `wait` for when it answers.

        `page` is "chat" for a demo page on which people talk to a model of texts; `page_settings` then has "answers"
        ({class: text}), and may have "greeting", "unknown" and "unsure_below".
        """
        fields = {"model": model, "name": name, "is_public": is_public, **({"version": version} if version else {})}
        fields |= {"page": page, "page_settings": dict(page_settings or {})}
        return self._http.request("POST", self.path, json=fields)

    def update(self, reference: int | str | Mapping, **fields: Any) -> Record:
        """Change is_public, version, wanted_replicas, when a trial is stopped (min_answers, max_error_points,
        max_latency_factor), who may ask (requests_per_minute, allowed_networks), the demo (page, page_settings), or how
        it scales: see `scale`."""
        return self._http.request("PATCH", f"{self.path}{self._id(reference)}/", json=fields)

    def try_version(
        self, reference: int | str | Mapping, version: int, *, weight: int = 10, replicas: int = 1
    ) -> Record:
        """Send `weight` percent of the traffic to a version; it is stopped by itself when it does worse."""
        body = {"version": version, "weight": weight, "replicas": replicas}
        return self._do(reference, "trial/", json=body)

    def stop_trial(self, reference: int | str | Mapping, version: int) -> Record:
        """Give the traffic of a version that is tried back to the stable one."""
        path = f"{self.path}{self._id(reference)}/trial/"
        return self._http.request("DELETE", path, params={"version": version})

    def set_traffic(
        self, reference: int | str | Mapping, weights: Mapping[int, int], *, replicas: Mapping[int, int] | None = None
    ) -> Record:
        """Serve exactly these versions: {version: percent}, which sum to 100, with so many replicas each (1)."""
        counts = replicas or {}
        shares = [
            {"version": version, "weight": weight, "replicas": counts.get(version, 1)}
            for version, weight in weights.items()
        ]
        path = f"{self.path}{self._id(reference)}/traffic/"
        return self._http.request("PUT", path, json={"traffic": shares})

    def promote(self, reference: int | str | Mapping, version: int) -> Record:
        """All traffic to a version."""
        return self._do(reference, "promote/", json={"version": version})

    def roll_back(self, reference: int | str | Mapping) -> Record:
        """All traffic to the version that served before."""
        return self._do(reference, "roll-back/")

    def changes(self, reference: int | str | Mapping) -> list[Record]:
        """The history of the traffic, newest first."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/changes/")

    def scale(
        self,
        reference: int | str | Mapping,
        least: int = 1,
        most: int = 4,
        *,
        in_flight: float = 8,
        latency_ms: int = 0,
        idle_minutes: int = 15,
    ) -> Record:
        """Let the number of replicas follow the load, between `least` and `most`: one for every `in_flight` requests at
        once, and more where the 95th percentile of latency exceeds `latency_ms` (0: any).

        With `least` 0 it sleeps after `idle_minutes` without a request, and the next request wakes it. A fixed number
        is `update(reference, max_replicas=0, wanted_replicas=2)`.
        """
        return self.update(
            reference,
            min_replicas=least,
            max_replicas=most,
            target_in_flight=in_flight,
            target_latency_ms=latency_ms,
            idle_minutes=idle_minutes,
        )

    def scaling(self, reference: int | str | Mapping) -> Record:
        """Requests in flight, and the last changes of the number of replicas: who made them and why."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/scaling/")

    def figures(self, reference: int | str | Mapping) -> Record:
        """Requests per second, latency and errors of each version in the last minutes."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/figures/")

    def load_test(
        self, reference: int | str | Mapping, *, seconds: int = 10, clients: int = 4, timeout: float | None = None
    ) -> Record:
        """Ask the model's own sample over and over from so many clients, and wait for what came of it: `figures` has
        per_second, p50_seconds, p95_seconds, p99_seconds, answers and errors. At most 60 seconds and 32 clients. Raises
        Failed, and ConflictError while another one runs."""
        test = self._do(reference, "load-tests/", json={"seconds": seconds, "clients": clients})
        deadline = None if timeout is None else time.monotonic() + timeout
        while test["status"] in ("queued", "running"):
            if deadline is not None and time.monotonic() > deadline:
                raise WaitTimeout(f"The load test has not ended within {timeout:g} seconds.")
            time.sleep(POLL_SECONDS)
            test = next(each for each in self.load_tests(reference) if each["id"] == test["id"])
        if test["status"] == "failed":
            raise Failed(test["reason"], code="load_test_failed")
        return test

    def load_tests(self, reference: int | str | Mapping) -> list[Record]:
        """The load tests so far, newest first."""
        return _all_pages(self._http, f"{self.path}{self._id(reference)}/load-tests/")

    def log_requests(
        self, reference: int | str | Mapping, percent: float, *, days: int = 7, inputs: bool = False
    ) -> Record:
        """Write `percent` of the requests by key down (0: none) and keep them for `days`, with what was sent where
        `inputs`."""
        body = {"percent": percent, "days": days, "inputs": inputs}
        return self._http.request("PUT", f"{self.path}{self._id(reference)}/requests/", json=body)

    def requests(self, reference: int | str | Mapping) -> list[Record]:
        """What was written down, newest first: at, version, verb, status, seconds, input_bytes, input, answer."""
        return _all_pages(self._http, f"{self.path}{self._id(reference)}/requests/")

    def _do(self, reference: int | str | Mapping, verb: str, **options: Any) -> Record:
        return self._http.request("POST", f"{self.path}{self._id(reference)}/{verb}", **options)

    def follow(self, reference: int | str | Mapping, *, timeout: float | None = None) -> Iterator[Record]:
        """The deployment each time it has changed, until it is ready, sleeps, or has failed."""
        return self._follow(reference, lambda record: record["status"] in ("ready", "failed", "asleep"), timeout)

    def wait(self, reference: int | str | Mapping, *, timeout: float | None = None) -> Record:
        """Until it has answered a real prediction, or sleeps until it is asked. Raises Failed with the reason."""
        record = _last(self.follow(reference, timeout=timeout))
        if record["status"] == "failed":
            raise Failed(record["reason"] or "The deployment failed.", code="deployment_failed")
        return record

    def delete(self, reference: int | str | Mapping) -> None:
        self._http.request("DELETE", f"{self.path}{self._id(reference)}/")


class Nodes(Resource):
    """The machines of the pool. `reference` is a machine's name, or a record of it; only administrators change them."""

    path = "/api/v1/nodes/"

    def _id(self, reference: str | Mapping) -> str:
        return quote(reference["name"] if isinstance(reference, Mapping) else reference, safe="")

    def join_command(self, name: str, *, pool: str = "") -> str:
        """The command that makes a machine part of the pool (the default one unless named); it works once."""
        body = {"name": name, **({"pool": pool} if pool else {})}
        return self._http.request("POST", self.path, json=body)["command"]

    def cordon(self, reference: str | Mapping) -> Record:
        """No new work; what runs there stays."""
        return self._change(reference, "cordon")

    def drain(self, reference: str | Mapping) -> Record:
        """No new work; what runs there writes a checkpoint and goes on elsewhere. See `wait_drained`."""
        return self._change(reference, "drain")

    def open(self, reference: str | Mapping) -> Record:
        """Let new work in again."""
        return self._change(reference, "open")

    def remove(self, reference: str | Mapping) -> Record:
        """Take it out of the pool. Raises ConflictError while something runs on it."""
        return self._change(reference, "remove")

    def wait_drained(self, reference: str | Mapping, *, timeout: float | None = None) -> Record:
        """Until nothing is left on it, or it is offline. Raises WaitTimeout."""
        return _last(self._follow(reference, lambda node: node["state"] in ("drained", "offline"), timeout))

    def _change(self, reference: str | Mapping, verb: str) -> Record:
        return self._http.request("POST", f"{self.path}{self._id(reference)}/{verb}/", json={})


def read_usage(http: Http, *, group: str, first: str | date | None, last: str | date | None) -> Record:
    """What the team used between two days, both included."""
    days = {"from": first, "to": last}
    chosen = {name: str(day) for name, day in days.items() if day is not None}
    return http.request("GET", "/api/v1/usage/", params={"group": group, **chosen})


def require_success(job: Record) -> Record:
    """The job, or Failed."""
    if job["status"] == "failed":
        failure = job["failure"]
        raise Failed(failure["message"], code=failure["code"], hint=failure.get("hint", ""))
    if job["status"] == "cancelled":
        raise Failed("The job was cancelled.", code="cancelled")
    return job


def save_file(http: Http, path: str, target: Path) -> Path:
    """Download `path` of the site to `target`; a download that breaks off leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".part")
    with open(temporary, "wb") as file:
        http.stream_to(path, file)
    return temporary.replace(target)


def _all_pages(http: Http, path: str, **filters: Any) -> list[Record]:
    found: list[Record] = []
    while True:
        page = http.request("GET", path, params={**filters, "limit": 200, "offset": len(found)})
        found += page["results"]
        if not page["next"] or not page["results"]:
            return found


def _version(item: int | str | tuple | Mapping) -> dict[str, Any]:
    """{"model", "version"} as the site takes it."""
    if isinstance(item, Mapping):
        return {"model": item["id"], "version": item["version"]}
    if isinstance(item, tuple):
        return {"model": item[0], "version": item[1]}
    return {"model": item}


def _last(records: Iterator[Record]) -> Record:
    return deque(records, maxlen=1)[0]


def _needs_review(dataset: Record) -> Failed:
    bad = dataset["latest_version"]["report"]["bad"]
    named = "; ".join(f"{item['path']}: {item['reason']}" for item in bad[:5])
    return Failed(
        f"{len(bad)} files or rows are bad: {named}.",
        code="needs_review",
        hint="Mend them and upload again, or wait(..., leave_out_bad=True).",
    )


def _with_splits(files: FileArgument) -> list[tuple[Path, str]]:
    if isinstance(files, Mapping):
        return [(Path(path), split) for split, path in files.items()]
    if isinstance(files, str | Path):
        return [(Path(files), "")]
    return [(Path(path), "") for path in files]
