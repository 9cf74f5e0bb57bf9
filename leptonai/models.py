"""Models and their versions."""

from collections.abc import Mapping
from pathlib import Path

from leptonai.records import Record
from leptonai.resource import Resource, save_file


class Models(Resource):
    """The registry."""

    path = "/api/v1/models/"

    def version(self, reference: int | str | Mapping, number: int) -> Record:
        return self._http.request("GET", f"{self.path}{self._id(reference)}/versions/{number}/")

    def spread(self, reference: int | str | Mapping, number: int) -> Record:
        """The headline figure of a version over all seeds it was trained with: mean, deviation, low, high, runs. Raises
        NotFoundError for what was not trained from the beginning."""
        return self._http.request("GET", f"{self.path}{self._id(reference)}/versions/{number}/spread/")

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
