"""The Open Inference Protocol, "v2" of KServe, Triton and others, as the gateway speaks it. Pure.

``GET /v2``, ``/v2/health/live``, ``/v2/health/ready``, ``GET /v2/models/<name>[/versions/<n>][/ready]`` and
``POST .../infer``. Errors are ``{"error": "<sentence>"}``.
"""

import json
from dataclasses import dataclass
from typing import Any

from apps.core.errors import DomainError, NotFound
from apps.core.version import VERSION
from apps.deployments.endpoints import Endpoint
from lepton_site.messages import MAX_NAME_LENGTH, Answer
from workers.contract import (
    ANSWER_RETRIEVAL,
    FORECASTING,
    MULTI_LABEL_IMAGES,
    RECOMMENDATION,
    SPEECH_RECOGNITION,
    TRANSLATION,
)
from workers.domains import TASKS
from workers.inference.framing import TENSORS, Frame, Question

SERVER = "lepton"
LIVE, READY, ABOUT = "live", "ready", "about"
MODEL, MODEL_READY, INFER = "model", "model_ready", "infer"
VERBS = {"": MODEL, "ready": MODEL_READY, "infer": INFER}
SERVER_PATHS = {"/v2": ABOUT, "/v2/health/live": LIVE, "/v2/health/ready": READY}
HEADER_LENGTH = "inference-header-content-length"
MAX_VERSION_DIGITS = 9


@dataclass(frozen=True)
class Call:
    """What is asked: `name` and `version` are those of a model, where it is about one."""

    what: str
    name: str = ""
    version: int | None = None

    @property
    def method(self) -> str:
        return "POST" if self.what == INFER else "GET"


def is_ours(path: str) -> bool:
    return path.startswith("/v2") and (len(path) == 3 or path[3] == "/")


def parse_path(path: str) -> Call:
    """Raises NotFound."""
    path = path.rstrip("/")
    if path in SERVER_PATHS:
        return Call(SERVER_PATHS[path])
    match path.split("/")[2:]:
        case ["models", name, "versions", number, *verb] if number.isdecimal() and len(number) <= MAX_VERSION_DIGITS:
            version = int(number)
        case ["models", name, *verb]:
            version = None
        case _:
            raise _no_such_address()
    what = VERBS.get("/".join(verb))
    if what is None or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise _no_such_address()
    return Call(what, name, version)


def _no_such_address() -> NotFound:
    return NotFound(
        "There is no such address. Predictions are asked for at /v2/models/<name>/infer, or at "
        "/v2/models/<name>/versions/<number>/infer."
    )


def about_server(what: str) -> dict[str, Any]:
    if what in (LIVE, READY):
        return {what: True}
    return {"name": SERVER, "version": VERSION, "extensions": ["binary_tensor_data"]}


def about_call(endpoint: Endpoint, call: Call) -> tuple[int, dict[str, Any]]:
    """Status and answer of what is asked about a model; 400 is how the protocol says "not ready". Raises NotFound."""
    if call.what == MODEL:
        return 200, about_model(endpoint, call.version)
    endpoint.facts_of(call.version)
    is_ready = any(call.version in (None, route.number) for route, _weight in endpoint.routes)
    return 200 if is_ready else 400, {"name": endpoint.name, "ready": is_ready}


def about_model(endpoint: Endpoint, version: int | None) -> dict[str, Any]:
    """Raises NotFound for a version that is not served."""
    input_, classes = endpoint.facts_of(version)
    return {
        "name": endpoint.name,
        "versions": [str(number) for number in endpoint.facts],
        "platform": SERVER,
        "inputs": TASKS[endpoint.task].load("questions").describe(input_),
        "outputs": _outputs(endpoint.task, classes),
    }


def _outputs(task: str, classes: list[str]) -> list[dict[str, Any]]:
    if task == TRANSLATION:
        return [
            {"name": "translation", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
        ]
    if task == SPEECH_RECOGNITION:
        return [
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
        ]
    if task == ANSWER_RETRIEVAL:
        return [
            {"name": "answer", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
        ]
    if task == RECOMMENDATION:
        return [
            {"name": "item", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "score", "datatype": "FP32", "shape": [-1, -1]},
        ]
    if task == FORECASTING:
        numbers = [{"name": name, "datatype": "FP64", "shape": [-1, -1]} for name in ("value", "low", "high")]
        return [{"name": "time", "datatype": "BYTES", "shape": [-1, -1]}, *numbers]
    if not classes:
        return [{"name": "value", "datatype": "FP64", "shape": [-1]}]
    if task == MULTI_LABEL_IMAGES:
        shape = [-1, len(classes)]
        return [
            {"name": "probabilities", "datatype": "FP32", "shape": shape},
            {"name": "is_said", "datatype": "UINT8", "shape": shape},
        ]
    return [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(classes)]},
        {"name": "class", "datatype": "BYTES", "shape": [-1]},
    ]


def to_question(endpoint: Endpoint, headers: dict[str, str], body: bytes) -> Question:
    """Raises DomainError for what cannot be a request."""
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity":
        error = DomainError(f"The body is sent as {encoding[:40]}. Send it as it is.", code="unsupported_encoding")
        error.status = 415
        raise error
    declared = headers.get(HEADER_LENGTH)
    if declared is not None and not (declared.isascii() and declared.isdigit() and len(declared) < 12):
        raise DomainError("Inference-Header-Content-Length is no whole number.")
    options = {"json_bytes": None if declared is None else int(declared), "model_name": endpoint.name}
    return Question(TENSORS, body, options=options)


def refusal(error: DomainError) -> Answer:
    """In the protocol's form, which has no codes."""
    return Answer(error.status, _error(error.message), error.headers())


def _error(message: str) -> bytes:
    return json.dumps({"error": str(message)}).encode()


def to_answer(frame: Frame, headers: dict[str, str]) -> Answer:
    """What a replica said. `headers` come along."""
    if frame.status == 200:
        return Answer(200, frame.body, headers | _binary_headers(frame.head.get("json_bytes")))
    return Answer(frame.status, _error(json.loads(frame.body)["error"]["message"]), headers)


def _binary_headers(json_bytes: int | None) -> dict[str, str]:
    """Of an answer that begins with so much JSON; none where all of it is."""
    if json_bytes is None:
        return {}
    return {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(json_bytes)}
