"""The client: one site, one team."""

import os
from datetime import date
from typing import Any
from urllib.parse import quote

import httpx

from leptonai.datasets import Datasets
from leptonai.deployments import Deployments
from leptonai.errors import AuthenticationError
from leptonai.jobs import Jobs
from leptonai.model import Model
from leptonai.models import Models
from leptonai.nodes import Nodes, read_usage
from leptonai.recipes import Recipes
from leptonai.records import Record
from leptonai.transport import Http

DEFAULT_BASE_URL = "http://127.0.0.1:8000"


class Client:
    """`client.datasets`, `client.jobs`, `client.models`, `client.deployments`, `client.nodes`,
    `client.recipes`, `client.usage` and `client.load_model`.

    `api_key` comes from LEPTON_API_KEY and `base_url` from LEPTON_BASE_URL where they are not given; `timeout` is in
    seconds per request; `transport` is an httpx transport, for tests. Raises AuthenticationError without a key.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        api_key = api_key or os.environ.get("LEPTON_API_KEY", "")
        if not api_key:
            raise AuthenticationError(
                "There is no API key. Make one on your site's API keys page; pass it as api_key= or in LEPTON_API_KEY.",
                status=401,
                code="not_authenticated",
            )
        base_url = base_url or os.environ.get("LEPTON_BASE_URL") or DEFAULT_BASE_URL
        self._http = Http(base_url, api_key, timeout, transport)
        self.datasets = Datasets(self._http)
        self.jobs = Jobs(self._http)
        self.models = Models(self._http)
        self.deployments = Deployments(self._http)
        self.nodes = Nodes(self._http)
        self.recipes = Recipes(self._http)

    def load_model(self, name: str) -> Model:
        """A deployment's name, a model's name, or a task such as "image_classification" (its newest deployment).

        Raises NotFoundError when nothing of that name is deployed for your team.
        """
        return Model(self._http, quote(name, safe=""), self._http.request("GET", f"/v1/models/{quote(name, safe='')}"))

    def usage(self, *, group: str = "day", first: str | date | None = None, last: str | date | None = None) -> Record:
        """What the team used from the day `first` to the day `last`, and what it cost; this month unless given.

        `group` is day, user, job or kind (of device). `total` and each of `rows` have device_hours, busy_device_hours,
        storage_gb_months, network_out_bytes and cost.
        """
        return read_usage(self._http, group=group, first=first, last=last)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_args: Any) -> None:
        self.close()
