"""A program that reads the OpenAPI schema finds how predictions are asked for, and answers are as it says."""

import base64
from collections.abc import Iterator

import jsonschema
import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from lepton_site import gateway, open_inference
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.inference.models import image_model, png, table_model, text_model
from tests.inference.processes import serve

NAME, VERSION = "shades", "1"


@pytest.fixture(scope="module")
def schema() -> dict:
    return SchemaGenerator().get_schema(request=None, public=True)


def is_valid(schema: dict, name: str, value: object) -> bool:
    whole = {"$ref": f"#/components/schemas/{name}", "components": schema["components"]}
    return jsonschema.Draft4Validator(whole).is_valid(value)


def gateways(schema: dict) -> dict[str, dict]:
    return {path: item for path, item in schema["paths"].items() if not path.startswith("/api/")}


def test_it_is_sound(schema):
    validate_schema(schema)


def test_every_path_of_the_gateway_is_there_and_no_other(schema):
    described = set()
    for path, item in gateways(schema).items():
        address = path.format(name=NAME, version=VERSION)
        if open_inference.is_ours(address):
            call = open_inference.parse_path(address)
            described.add((call.what, bool(call.version)))
            assert list(item) == [call.method.lower()]
        else:
            name, verb = gateway._parse_path(address)
            described.add((name, verb))
            assert list(item) == ["post" if verb else "get"]
    server = {(what, False) for what in open_inference.SERVER_PATHS.values()}
    of_models = {(what, has_version) for what in open_inference.VERBS.values() for has_version in (False, True)}
    ours = {(NAME, verb) for verb in ("", gateway.PREDICT, gateway.EXPLAIN)}
    assert described == server | of_models | ours


def test_whoever_asks_needs_a_key_but_for_the_servers_own_health(schema):
    open_paths = {path for path, item in gateways(schema).items() if [{}] in (of["security"] for of in item.values())}
    assert open_paths == set(open_inference.SERVER_PATHS)


def test_the_docs_page_lists_them(owner):
    page = owner.page.get("/docs/").content.decode()
    assert "/v1/models/{name}/predict" in page and "/v2/models/{name}/infer" in page


@pytest.fixture(scope="module")
def sockets(tmp_path_factory) -> Iterator[dict[str, str]]:
    makers = {"shades": image_model, "ages": table_model, "moods": text_model}
    running = {name: serve(tmp_path_factory.mktemp(name), make) for name, make in makers.items()}
    yield {name: next(process) for name, process in running.items()}
    for process in running.values():
        next(process, None)


QUESTIONS = {
    "shades": (image_model, {"image": base64.b64encode(png()).decode()}, "ImageQuestion", "ClassAnswer"),
    "ages": (
        table_model,
        {"rows": [{"age": 31, "city": "Rome"}, {"age": 70, "city": "Rome"}]},
        "RowQuestion",
        "Predictions",
    ),
    "moods": (text_model, {"text": "what a good day"}, "TextQuestion", "ClassAnswer"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("gateway")
@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_answered_is_as_described(schema, site, owner, sockets, tmp_path, name):
    make, question, kind, told = QUESTIONS[name]
    served(owner, store_model(owner, make(tmp_path / name), name), sockets[name], name)
    path = f"/v1/models/{name}"
    right = site("POST", f"{path}/predict?top_k=2", owner.secret, json=question)
    wrong = site("POST", f"{path}/predict", owner.secret, json={})
    about, tensors = site("GET", path, owner.secret), site("GET", f"/v2/models/{name}", owner.secret)
    assert is_valid(schema, kind, question) and is_valid(schema, "Question", question)
    assert right.status_code == 200 and is_valid(schema, told, right.json())
    assert wrong.status_code in (400, 422) and is_valid(schema, "PredictionError", wrong.json())
    assert about.status_code == 200 and is_valid(schema, "ServedModel", about.json())
    assert tensors.status_code == 200 and is_valid(schema, "TensorModel", tensors.json())
    assert not is_valid(schema, "ServedModel", wrong.json())
