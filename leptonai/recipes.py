"""Examples that do the whole job: data, a model, a deployment."""

from collections.abc import Iterator, Mapping
from typing import Any

from leptonai.errors import Failed
from leptonai.records import Record
from leptonai.resource import Resource, last

ENDED = ("done", "failed")


class Recipes(Resource):
    """What can be started from an example, and the runs of it. `reference` is a run's id, or a record of it."""

    path = "/api/v1/recipe-runs/"

    def list(self, **_filters: Any) -> list[Record]:
        """All recipes, in the order of the page; `slug` is what `start` takes."""
        return self._http.request("GET", "/api/v1/recipes/")

    def start(self, slug: str) -> Record:
        """Make its data set, train and deploy. See `wait` for when it can be tried."""
        return self._http.request("POST", f"/api/v1/recipes/{slug}/runs/")

    def follow(self, reference: int | Mapping, *, timeout: float | None = None) -> Iterator[Record]:
        """The run each time it has changed, until it is done or has failed."""
        return self._follow(reference, lambda record: record["stage"] in ENDED, timeout)

    def wait(self, reference: int | Mapping, *, timeout: float | None = None) -> Record:
        """Until it answers; `deployment_name` is what `load_model` takes. Raises Failed with the reason."""
        record = last(self.follow(reference, timeout=timeout))
        if record["stage"] == "failed":
            raise Failed(record["error"], code="recipe_failed")
        return record
