"""The list of REST endpoints for people, from the same OpenAPI schema that programs read."""

from dataclasses import dataclass
from functools import cache

from drf_spectacular.generators import SchemaGenerator

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    summary: str


@cache
def endpoint_groups() -> dict[str, list[Endpoint]]:
    """Endpoints by the noun that their path begins with. They change only with the code, so they are read once."""
    groups: dict[str, list[Endpoint]] = {}
    for path, operations in SchemaGenerator().get_schema(request=None, public=True)["paths"].items():
        found = [_endpoint(method, path, operations[method]) for method in METHODS if method in operations]
        noun = path.removeprefix("/api/v1/").strip("/").split("/")[0]
        if not path.startswith("/api/"):  # the gateway's
            noun = next(operations[method]["tags"][0] for method in METHODS if method in operations)
        groups.setdefault(noun, []).extend(found)
    groups.pop("api", None)  # the schema's own address
    return groups


def _endpoint(method: str, path: str, operation: dict) -> Endpoint:
    summary = operation.get("summary") or operation.get("description", "").strip().split("\n")[0]
    return Endpoint(method.upper(), path, summary)
