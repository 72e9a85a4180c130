"""The OpenAPI document: schemas of every kind, and what each route takes and gives."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from federation.kinds.registry import KINDS
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION
from federation.resources.schema import kind_schema

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457: what is wrong, where, and what to do.",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string", "description": "Stable code."},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "What to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "format": "json-pointer"},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "title", "status"],
}
DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAME: dict[str, Any] = {"type": "string", "pattern": rf"^{DNS_LABEL}(\.{DNS_LABEL})*$", "maxLength": 253}
LABEL_KEY = rf"^({DNS_LABEL}(\.{DNS_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
NAMES: dict[str, Any] = {
    "name": NAME,
    "cluster": NAME | {"pattern": f"^({NAME['pattern'][1:-1]})?$"},
    "namespace": {"type": "string", "pattern": rf"^({DNS_LABEL})?$", "maxLength": 63},
    "labels": {
        "type": "object",
        "propertyNames": {"pattern": LABEL_KEY},
        "additionalProperties": {"type": "string", "pattern": LABEL_VALUE, "maxLength": 63},
    },
}
"""Metadata, as `federation.resources.grammar` has it: what JSON Schema can say of it."""
REFUSALS = {"400": "not JSON", "401": "not let in", "403": "not allowed", "404": "not found", "405": "no such method", "409": "conflict", "410": "too long ago", "412": "stale revision", "413": "too large", "422": "invalid", "429": "too often", "503": "try again"}  # fmt: skip


def query(name: str, description: str, kind: str = "string", **bounds: int) -> dict[str, Any]:
    """A query parameter."""
    return {"name": name, "in": "query", "description": description, "schema": {"type": kind, **bounds}}


LIST_QUERY = [
    query("labelSelector", "Calico's selector language: app == 'web'"), query("fieldSelector", "metadata.name=x,spec.node!=y"),
    query("cluster", "of that cluster"), query("namespace", "of that namespace"), query("limit", "of a page", "integer", minimum=1, maximum=5000),
    query("continue", "metadata.continue of the page before"), query("watch", "true: NDJSON events, for ever", "boolean"),
    query("since", "with watch: only what is newer than this revision; 410 when that is too long ago", "integer", minimum=0),
]  # fmt: skip
DRY_RUN = query("dryRun", "true: check everything, change nothing", "boolean")
IDEMPOTENCY = {
    "name": "Idempotency-Key", "in": "header", "description": "a request of this name is carried out once, however often it is sent within a day",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,200}$"},
}  # fmt: skip
UNCHANGED: dict[str, Any] = {"304": {"description": "as If-None-Match has it"}}
IF_MATCH = {
    "name": "If-Match", "in": "header", "description": "ETag that must still stand", "schema": {"type": "string", "pattern": '^(\\*|"?[0-9]{1,18}"?)$'},
}  # fmt: skip


def reference(name: str) -> dict[str, Any]:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """A request body of JSON."""
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def answers(
    code: str, schema: dict[str, Any] | None, *refusals: str, also: Sequence[str] = ()
) -> dict[str, Any]:
    """The responses of a route: the good one, and the problems it may give."""
    good: dict[str, Any] = {"description": "done"}
    if schema is not None:
        good["content"] = {"application/json": {"schema": schema}}
        good["content"] |= {media: {"schema": {}} for media in also}
    problem = {"application/problem+json": {"schema": reference("Problem")}}
    bad = {
        each: {"description": REFUSALS[each], "content": problem} for each in ("401", "429", "503", *refusals)
    }
    return {code: good, **bad}


def kind_route(kind: Kind, handler: str, in_path: list[dict[str, Any]]) -> dict[str, Any]:
    """What FastAPI cannot know of a route of one kind."""
    one, many = reference(kind.name), reference(f"{kind.name}List")
    match handler:
        case "listed":
            responses = answers("200", many, "403", "410", "422", also=["application/x-ndjson"])
            return {"parameters": LIST_QUERY, "responses": responses | UNCHANGED}
        case "created":
            return {
                "parameters": [DRY_RUN, IDEMPOTENCY],
                "requestBody": body(one),
                "responses": answers("201", one, "400", "403", "404", "409", "413", "422"),
            }
        case "read":
            return {"parameters": in_path, "responses": answers("200", one, "403", "404", "422") | UNCHANGED}
        case "replaced" | "patched":
            taken = (
                one if handler == "replaced" else {"type": "object", "description": "RFC 7396 merge patch"}
            )
            refusals = ("400", "403", "404", "409", "412", "413", "422")
            return {
                "parameters": [*in_path, DRY_RUN, IF_MATCH, IDEMPOTENCY],
                "requestBody": body(taken),
                "responses": answers("200", one, *refusals),
            }
    return {
        "parameters": [*in_path, DRY_RUN, IF_MATCH, IDEMPOTENCY],
        "responses": answers("200", one, "403", "404", "409", "412", "422"),
    }


def components() -> dict[str, Any]:
    """The schemas of all kinds."""
    found: dict[str, Any] = {"Problem": PROBLEM}
    for kind in KINDS:
        found[kind.name] = document_schema(kind)
        found[f"{kind.name}List"] = {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "const": "List"},
                "metadata": {
                    "type": "object",
                    "properties": {"revision": {"type": "integer"}, "continue": {"type": "string"}},
                },
                "items": {"type": "array", "items": reference(kind.name)},
            },
            "required": ["kind", "items"],
        }
    return found


def document_schema(kind: Kind) -> dict[str, Any]:
    """Documents of a kind: ours, and what other APIs call it, which are taken as they stand and checked as those APIs do."""
    ours = kind_schema(kind)
    ours["properties"]["metadata"]["properties"] |= NAMES
    others = [version for version in kind.accepted_versions if version != API_VERSION]
    ours["properties"]["apiVersion"] = {"type": "string", "const": API_VERSION}
    if not others:
        return ours
    theirs = {
        "type": "object",
        "description": f"As {', '.join(others)} has it.",
        "properties": {
            "apiVersion": {"type": "string", "enum": others},
            "kind": {"type": "string", "const": kind.foreign_name or kind.name},
            "metadata": {"type": "object"},
        },
        "required": ["apiVersion", "kind", "metadata"],
    }
    return {"title": kind.name, "description": ours["description"], "anyOf": [ours, theirs]}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document; made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        made.setdefault("components", {}).setdefault("schemas", {}).update(components())
        schemes = made["components"].setdefault("securitySchemes", {})
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
        made["security"] = [{"bearer": []}]
        app.openapi_schema = made
    return app.openapi_schema
