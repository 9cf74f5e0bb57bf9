"""The gateway's paths in the OpenAPI schema: Django does not know them, programs that read the schema should."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
TRUTH: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
BASE64: Schema = {"type": "string", "format": "byte"}
FILE: Schema = {"type": "string", "format": "binary"}
ANY_OBJECT: Schema = {"type": "object", "additionalProperties": True}
KEY = [{"apiKey": []}]
PREDICTIONS, V2 = "predictions", "open inference protocol"


def add_predictions(result: Schema, generator: object, request: object, public: bool) -> Schema:
    """A postprocessing hook of drf-spectacular."""
    result["components"]["schemas"] |= _components()
    result["paths"] |= _paths()
    return result


def _object(required: str = "", **properties: Schema) -> Schema:
    """`required` names properties, with blanks between them."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# Bodies


def _questions() -> dict[str, Schema]:
    row = ANY_OBJECT | {"description": "A value by column; what is left out is unknown."}
    rated = {"anyOf": [_list(TEXT), {"type": "object", "additionalProperties": NUMBER}]}
    shown = {"exclude_seen": TRUTH, "reasons": TRUTH, "people": WHOLE}
    given = {"history": _list(ANY_OBJECT), "future": _list(ANY_OBJECT), "rows": _list(ANY_OBJECT)}
    ways = {
        "ImageQuestion": _object(image=BASE64, images=_list(BASE64)),
        "RecordingQuestion": _object(audio=BASE64, recordings=_list(BASE64)),
        "RowQuestion": _object(row=row, rows=_list(row)),
        "TextQuestion": _object(text=TEXT, texts=_list(TEXT), beam_size=WHOLE),
        "UserQuestion": _object(user=TEXT, users=_list(TEXT), items=rated, item=TEXT, k=WHOLE, **shown),
        "SeriesQuestion": _object(series=TEXT, horizon=WHOLE, history_steps=WHOLE, **given),
    }
    return ways | {"Question": {"anyOf": [_ref(name) for name in ways]}}


def _answers() -> dict[str, Schema]:
    said = {"class": TEXT, "probability": SHARE}
    ranked = _object("class probability", **said)
    decided = {"positive": TEXT, "threshold": SHARE, "probability": SHARE, "is_positive": TRUTH}
    decision = _object(" ".join(decided), **decided) | {"description": "Where the deployment screens for a class."}
    forecast = {"time": TEXT, "value": NUMBER, "low": NUMBER, "high": NUMBER}
    found = _object("answer score", answer=TEXT, score=NUMBER, question=TEXT)
    item = _object("item score", item=TEXT, name=TEXT, score=NUMBER)
    word = _object("word start end", word=TEXT, start=NUMBER, end=NUMBER)
    label = _object("label probability", label=TEXT, probability=SHARE)
    kinds = {
        "ClassAnswer": _object("class probability", **said, classes=_list(ranked), decision=decision),
        "ValueAnswer": _object("value", value=NUMBER),
        "LabelsAnswer": _object("labels", labels=_list(label), scores=_list(label)),
        "TranslationAnswer": _object("translation score", translation=TEXT, score=NUMBER),
        "SpeechAnswer": _object("text confidence words", text=TEXT, confidence=SHARE, words=_list(word)),
        "FoundAnswer": _object("answers confidence knows", answers=_list(found), confidence=SHARE, knows=TRUTH),
        "ItemsAnswer": _object("items based_on", items=_list(item), based_on=TEXT),
        "ForecastAnswer": _object("forecast", forecast=_list(_object("time value low high", **forecast)), series=TEXT),
    }
    one = {"Prediction": {"anyOf": [_ref(name) for name in kinds], "description": "By the task of the model."}}
    several = _object("predictions", predictions=_list(_ref("Prediction")))
    return kinds | one | {"Predictions": several}


def _components() -> dict[str, Schema]:
    error = _object("code message", code=TEXT, message=TEXT, field=TEXT, details=ANY_OBJECT)
    shaped = {"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer"})}
    tensor = _object("name datatype shape", **shaped, data=_list({}))
    wanted = _list(_object("name", name=TEXT))
    sides = {"inputs": _list(_object(**shaped)), "outputs": _list(_object(**shaped))}
    names = {"model_name": TEXT, "model_version": TEXT, "id": TEXT}
    return {
        **_questions(),
        **_answers(),
        "PredictionError": _object("error", error=error),
        "ServedModel": _object("name task", name=TEXT, task=TEXT, input=ANY_OBJECT, classes=_list(TEXT)),
        "TensorQuestion": _object("inputs", id=TEXT, inputs=_list(tensor), outputs=wanted),
        "TensorAnswer": _object("model_name outputs", **names, outputs=_list(tensor)),
        "TensorModel": _object("name versions inputs outputs", name=TEXT, versions=_list(TEXT), platform=TEXT, **sides),
        "TensorError": _object("error", error=TEXT),
    }


# Paths

NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": TEXT,
    "description": "A deployment, a model, or a task: then its newest deployment that is ready.",
}
VERSION = {"name": "version", "in": "path", "required": True, "schema": WHOLE}
TOP_K = {"name": "top_k", "in": "query", "schema": WHOLE, "description": "So many of the best classes besides."}
REFUSALS = {
    "400": "It cannot be read as a question.",
    "401": "The API key is missing, unknown or revoked.",
    "403": "The address may not ask, or the month's network is used up.",
    "404": "There is no such deployment, or it belongs to another team.",
    "413": "The body, or an item of it, is too large.",
    "415": "The body is of a type that the model does not take.",
    "422": "An item cannot be decoded, or lacks what the model needs.",
    "429": "More than the key or the deployment may be asked, or more than it can take. See Retry-After.",
    "503": "No replica is ready. See Retry-After.",
}
ABOUT_ANSWER = {
    "Lepton-Version": {"schema": WHOLE, "description": "The version that answered."},
    "Server-Timing": {"schema": TEXT, "description": "What the replica took, in milliseconds."},
}


def _refusals(error: str, *statuses: str) -> dict[str, Schema]:
    content = {"application/json": {"schema": _ref(error)}}
    return {status: {"description": REFUSALS[status], "content": content} for status in statuses or REFUSALS}


def _answered(schema: Schema, headers: Schema | None = None, other_types: Schema | None = None) -> Schema:
    types = {"application/json": schema} | (other_types or {})
    found: Schema = {"description": "", "content": {name: {"schema": of} for name, of in types.items()}}
    return found | ({"headers": headers} if headers else {})


def _content(types: Schema) -> Schema:
    return {"required": True, "content": {name: {"schema": schema} for name, schema in types.items()}}


def _operation(operation_id: str, tag: str, about: str, responses: Schema, **more: Any) -> Schema:
    usual: Schema = {"operationId": operation_id, "tags": [tag], "description": about, "security": KEY}
    return usual | {"responses": responses} | more


def _body() -> Schema:
    types = {
        "application/octet-stream": FILE,
        "application/json": _ref("Question"),
        "multipart/form-data": _object("file", file=_list(FILE)),
        "text/plain": TEXT,
    }
    return _content(types)


def _paths() -> dict[str, Schema]:
    return {
        "/v1/models/{name}": {"get": _describe()},
        "/v1/models/{name}/predict": {"post": _predict()},
        "/v1/models/{name}/explain": {"post": _explain()},
        **_server_paths(),
        **_model_paths("/v2/models/{name}", [NAME], ""),
        **_model_paths("/v2/models/{name}/versions/{version}", [NAME, VERSION], "_version"),
    }


def _describe() -> Schema:
    told = {"200": _answered(_ref("ServedModel"))} | _refusals("PredictionError", "401", "403", "404", "503")
    about = "What it takes and which classes it knows."
    return _operation("describe_model", PREDICTIONS, about, told, parameters=[NAME])


def _predict() -> Schema:
    answer = {"anyOf": [_ref("Prediction"), _ref("Predictions")]}
    lines = {"application/x-ndjson": _ref("Prediction")}
    told = {"200": _answered(answer, ABOUT_ANSWER, lines)} | _refusals("PredictionError")
    about = "Predict one item, or several. With `Accept: application/x-ndjson` each item gets a line as it is answered."
    return _operation("predict", PREDICTIONS, about, told, parameters=[NAME, TOP_K], requestBody=_body())


def _explain() -> Schema:
    explained = {"allOf": [_ref("Prediction"), _object("explanation", explanation=ANY_OBJECT)]}
    told = {"200": _answered(explained, ABOUT_ANSWER)} | _refusals("PredictionError")
    about = "Predict one item, and say where the answer comes from."
    return _operation("explain", PREDICTIONS, about, told, parameters=[NAME, TOP_K], requestBody=_body())


def _server_paths() -> dict[str, Schema]:
    about = {
        "/v2": ("about_server", "The server and its extensions."),
        "/v2/health/live": ("server_live", "Whether the server lives."),
        "/v2/health/ready": ("server_ready", "Whether it can answer."),
    }
    told = {"200": _answered(ANY_OBJECT)}
    return {path: {"get": _operation(name, V2, words, told, security=[{}])} for path, (name, words) in about.items()}


def _model_paths(path: str, parameters: list[Schema], suffix: str) -> dict[str, Schema]:
    known = _refusals("TensorError", "401", "403", "404", "503")
    model = {"200": _answered(_ref("TensorModel"))} | known
    ready = {"200": _answered(ANY_OBJECT), "400": {"description": "No replica is ready."}} | known
    tensors = {"application/json": _ref("TensorQuestion"), "application/octet-stream": FILE}
    infer = {"200": _answered(_ref("TensorAnswer"), ABOUT_ANSWER, {"application/octet-stream": FILE})}
    infer |= _refusals("TensorError")

    def operation(verb: str, about: str, told: Schema, **more: Any) -> Schema:
        return _operation(f"model_{verb}{suffix}", V2, about, told, parameters=parameters, **more)

    return {
        path: {"get": operation("metadata", "Inputs and outputs of a model.", model)},
        f"{path}/ready": {"get": operation("ready", "Whether a model can answer.", ready)},
        f"{path}/infer": {"post": operation("infer", "Predict tensors.", infer, requestBody=_content(tensors))},
    }
