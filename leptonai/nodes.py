"""The machines of the pool, and what was used of it."""

from collections.abc import Mapping
from datetime import date
from urllib.parse import quote

from leptonai.records import Record
from leptonai.resource import Resource, last
from leptonai.transport import Http


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
        return last(self._follow(reference, lambda node: node["state"] in ("drained", "offline"), timeout))

    def _change(self, reference: str | Mapping, verb: str) -> Record:
        return self._http.request("POST", f"{self.path}{self._id(reference)}/{verb}/", json={})


def read_usage(http: Http, *, group: str, first: str | date | None, last: str | date | None) -> Record:
    """What the team used between two days, both included."""
    days = {"from": first, "to": last}
    chosen = {name: str(day) for name, day in days.items() if day is not None}
    return http.request("GET", "/api/v1/usage/", params={"group": group, **chosen})
