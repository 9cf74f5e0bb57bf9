"""Data sets and their versions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from leptonai.errors import Failed
from leptonai.records import Record
from leptonai.resource import Resource, last, save_file
from leptonai.uploads import Progress, upload_file

FileArgument = str | Path | Sequence[str | Path] | Mapping[str, str | Path]


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
        record = last(self.follow(reference, timeout=timeout))
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

    def findings(self, reference: int | str | Mapping, *, version: int | None = None) -> list[Record]:
        """What the check of a version (the newest unless given) found: each with a key, a message, what it may cost,
        the first items and the actions that can be taken (see `act`)."""
        return self._version(reference, version)[1]["report"].get("findings", [])

    def steps(self, reference: int | str | Mapping, *, version: int | None = None) -> list[Record]:
        """What was done to make a version (the newest unless given), in order. Those with ``is_optional`` can be undone
        (see `redo`)."""
        return self._version(reference, version)[1]["report"].get("steps", [])

    def act(
        self,
        reference: int | str | Mapping,
        finding: str,
        action: str,
        *,
        items: Sequence[str] | None = None,
        version: int | None = None,
    ) -> Record:
        """Do something about a finding, by its key or, where only one has it, its code: the next version, which is then
        made (see `wait`).

        `action` is leave_out, relabel, move or drop, as the finding offers them; keep and reopen only note that it is
        let be. It is done to everything that the finding names, or to the ids in `items` alone; the id of a user or a
        series stands for all its rows.
        """
        dataset, record = self._version(reference, version)
        path = f"{self.path}{dataset}/versions/{record['number']}/findings/{finding}/"
        return self._http.request(
            "POST", path, json={"action": action, "items": None if items is None else list(items)}
        )

    def redo(
        self, reference: int | str | Mapping, *, without: Sequence[str] = (), version: int | None = None
    ) -> Record:
        """The next version, made without the steps of these ids and with all others; it is then made (see `wait`)."""
        dataset, record = self._version(reference, version)
        path = f"{self.path}{dataset}/versions/{record['number']}/redo/"
        return self._http.request("POST", path, json={"without": list(without)})

    def _version(self, reference: int | str | Mapping, number: int | None) -> tuple[int, Record]:
        dataset = self.get(reference)
        if number is None:
            return dataset["id"], dataset["latest_version"]
        return dataset["id"], self._http.request("GET", f"{self.path}{dataset['id']}/versions/{number}/")

    def delete(self, reference: int | str | Mapping) -> None:
        self._http.request("DELETE", f"{self.path}{self._id(reference)}/")


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
