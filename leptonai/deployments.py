"""What is served."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from leptonai.errors import Failed, WaitTimeout
from leptonai.records import Record
from leptonai.resource import POLL_SECONDS, Resource, all_pages, last


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
        ({class: text}), and may have "greeting", "unknown" and "unsure_below". With "screening" a model of classes says
        whether its input counts as the class "positive", which it does from a probability of "threshold" (0.5) on; each
        prediction then has "decision". "offers" is for models that recommend. Every page may have a "notice".
        """
        fields = {"model": model, "name": name, "is_public": is_public, **({"version": version} if version else {})}
        fields |= {"page": page, "page_settings": dict(page_settings or {})}
        return self._http.request("POST", self.path, json=fields)

    def update(self, reference: int | str | Mapping, **fields: Any) -> Record:
        """Change is_public, version, wanted_replicas, when a trial is stopped (min_answers, max_error_points,
        max_latency_factor), who may ask (requests_per_minute, allowed_networks), the demo (page, page_settings), what
        the pool sets aside for each replica (replica_cpu in cores, replica_memory in GB, 0 for what is usual), or how
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

    def readiness(self, reference: int | str | Mapping) -> Record:
        """Whether it answers (`status`, `reason`), and with which `replicas`."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/readiness/")

    def terminations(self, reference: int | str | Mapping) -> list[Record]:
        """How its last replicas ended, newest first: exit_code, reason, and the end of the log."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/termination/")

    def events(self, reference: int | str | Mapping) -> list[Record]:
        """What happened to its traffic, its number of replicas and each replica, newest first."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/events/")

    def retry(self, reference: int | str | Mapping) -> Record:
        """Try at once again what failed several times."""
        return self._do(reference, "retry/")

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
        return all_pages(self._http, f"{self.path}{self._id(reference)}/load-tests/")

    def log_requests(
        self, reference: int | str | Mapping, percent: float, *, days: int = 7, inputs: bool = False
    ) -> Record:
        """Write `percent` of the requests by key down (0: none) and keep them for `days`, with what was sent where
        `inputs`."""
        body = {"percent": percent, "days": days, "inputs": inputs}
        return self._http.request("PUT", f"{self.path}{self._id(reference)}/requests/", json=body)

    def requests(self, reference: int | str | Mapping) -> list[Record]:
        """What was written down, newest first: at, version, verb, status, seconds, input_bytes, input, answer."""
        return all_pages(self._http, f"{self.path}{self._id(reference)}/requests/")

    def _do(self, reference: int | str | Mapping, verb: str, **options: Any) -> Record:
        return self._http.request("POST", f"{self.path}{self._id(reference)}/{verb}", **options)

    def follow(self, reference: int | str | Mapping, *, timeout: float | None = None) -> Iterator[Record]:
        """The deployment each time it has changed, until it is ready, sleeps, or has failed."""
        return self._follow(reference, lambda record: record["status"] in ("ready", "failed", "asleep"), timeout)

    def wait(self, reference: int | str | Mapping, *, timeout: float | None = None) -> Record:
        """Until it has answered a real prediction, or sleeps until it is asked. Raises Failed with the reason."""
        record = last(self.follow(reference, timeout=timeout))
        if record["status"] == "failed":
            raise Failed(record["reason"] or "The deployment failed.", code="deployment_failed")
        return record

    def delete(self, reference: int | str | Mapping) -> None:
        self._http.request("DELETE", f"{self.path}{self._id(reference)}/")
