"""A deployed model that predicts."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from leptonai.files import read_file
from leptonai.images import to_bytes
from leptonai.records import Record
from leptonai.transport import Http


class Model:
    """`client.load_model(name)`. `task`, `classes` and `input` say what it takes and gives."""

    def __init__(self, http: Http, name: str, facts: Record) -> None:
        self._http = http
        self.name = name
        self.facts = facts

    @property
    def task(self) -> str:
        return self.facts["task"]

    @property
    def classes(self) -> list[str]:
        return self.facts.get("classes") or []

    @property
    def input(self) -> Record:
        return self.facts["input"]

    def predict(
        self, item: Any = None, /, *, top_k: int | None = None, beam_size: int | None = None, **asked: Any
    ) -> dict:
        """Predict one item.

        For a model of pictures `item` is a path, bytes, a PIL image or a uint8 array; for a model of recordings a path,
        bytes or an open file; of either also a list of these; for a model of tables a dict of column -> value, or a
        list of such dicts; for a model of texts a str, or a list of them. A model that recommends is asked by name:
        ``predict(user="42", k=10)``, ``predict(items=["a", "b"])`` for somebody new, ``predict(user="42", item="a")``
        about one item; or with such a dict. A model that forecasts likewise: ``predict(series="store 1", horizon=14)``
        goes on with a series it was trained on, ``predict(history=[{"time": ..., "value": ...}, ...])`` with yours, and
        a list of dicts asks for single times of known series. Answers {"class", "probability"}, with
        "classes" (best first) when `top_k` is given; {"value"} for a number;
        {"translation", "score"} for a model that translates, which tries `beam_size` translations side by side;
        {"answers": [{"answer", "score", "question"}], "confidence", "knows"} for one that finds answers, best first,
        `top_k` of them; {"text", "confidence", "words": [{"word", "start", "end"}]}, in seconds, for one that writes
        down speech; {"items": [{"item", "name", "score"}]} for recommendations;
        {"labels": [{"label", "probability"}]} where a picture may have several, with "scores" of the `top_k`
        most probable;
        {"forecast": [{"time", "value", "low", "high"}]} for a forecast, whose ranges hold 80 % of the values;
        {"predictions": [...]} for a list.
        """
        kind = self.input["kind"]
        if asked and kind not in ASKED_BY_NAME:
            message = (
                f"{self!r} takes no {next(iter(asked))}=; only models that recommend or forecast are asked by name"
            )
            raise TypeError(message)
        choices = {} if beam_size is None else {"beam_size": beam_size}
        item = {**(item or {}), **asked} if kind in ASKED_BY_NAME and not isinstance(item, list) else item
        return self._ask("predict", item, {"top_k": top_k} if top_k else None, **choices)

    def explain(self, item: Any) -> Record:
        """What of one item the answer comes from: the answer with "explanation", which costs many predictions.

        For a picture {"method": "occlusion", "grid", "overlay"}: how much each part of it speaks for the class,
        and that as a PNG in base64. For a row {"method": "shapley", "baseline", "output",
        "contributions"}: what each column adds to the answer to a usual row. For a text {"method": "leave_one_out",
        "tokens"}: what is lost when a word is left out.
        """
        return self._ask("explain", item)

    def _ask(self, verb: str, item: Any, params: dict[str, Any] | None = None, **choices: Any) -> Record:
        path = f"/v1/models/{self.name}/{verb}"
        if make_body := BODIES.get(self.input["kind"]):
            body = make_body(item) | choices
            return self._http.request("POST", path, params=params, json=body, is_safe_to_repeat=True)
        if isinstance(item, list | tuple):
            return self._http.request("POST", path, params=params, json=self._files(item), is_safe_to_repeat=True)
        headers = {"Content-Type": "application/octet-stream"}
        return self._http.request(
            "POST", path, params=params, content=self._file(item), headers=headers, is_safe_to_repeat=True
        )

    def _files(self, items: Sequence[Any]) -> dict[str, list[str]]:
        many = "recordings" if self.input["kind"] == "audio" else "images"
        return {many: [b64encode(self._file(item)).decode() for item in items]}

    def _file(self, item: Any) -> bytes:
        return read_file(item) if self.input["kind"] == "audio" else to_bytes(item)

    def __repr__(self) -> str:
        return f"<Model {self.name!r} for {self.task}>"


def _body_of_rows(item: Any) -> dict[str, Any]:
    return {"rows": item} if isinstance(item, list) else {"row": dict(item)}


def _body_of_texts(item: Any) -> dict[str, Any]:
    """Raises TypeError for what is neither a text nor several."""
    if isinstance(item, str):
        return {"text": item}
    if isinstance(item, list | tuple):
        return {"texts": list(item)}
    raise TypeError(f"{type(item).__name__} is no text: give a str, or a list of them")


def _body_of_series(item: Any) -> dict[str, Any]:
    return {"rows": item} if isinstance(item, list) else dict(item)


ASKED_BY_NAME = ("series", "user")
BODIES = {"series": _body_of_series, "table": _body_of_rows, "text": _body_of_texts, "user": dict}
