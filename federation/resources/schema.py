"""JSON Schemas of documents, worked out from the dataclasses that the codec structures them into: the two cannot disagree."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Union, get_args, get_origin, get_type_hints

from federation.resources.codec import json_name
from federation.resources.kind import Kind
from federation.resources.metadata import Metadata

PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"}, int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"},
    type(None): {"type": "null"},
    IPv4Address: {"type": "string", "format": "ipv4"}, IPv6Address: {"type": "string", "format": "ipv6"},
    IPv4Network: {"type": "string", "description": "canonical IPv4 prefix"},
    IPv6Network: {"type": "string", "description": "canonical IPv6 prefix"},
}  # fmt: skip
Schema = dict[str, Any]


def kind_schema(kind: Kind) -> Schema:
    """The schema of a kind's documents."""
    spec = schema_of(kind.spec)
    needed = ["apiVersion", "kind", "metadata", *(["spec"] if spec.get("required") else [])]
    return {
        "type": "object",
        "title": kind.name,
        "description": _first_paragraph(kind.spec),
        "properties": {
            "apiVersion": {"type": "string", "enum": list(kind.accepted_versions)},
            "kind": {"type": "string", "enum": list(filter(None, (kind.name, kind.foreign_name)))},
            "metadata": schema_of(Metadata),
            "spec": spec,
            "status": schema_of(kind.status),
        },
        "required": needed,
        "additionalProperties": False,
    }


def schema_of(hint: Any) -> Schema:
    """The schema of one type of the model."""
    if hint in PLAIN:
        return dict(PLAIN[hint])
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if origin in (types.UnionType, Union):
        return {"anyOf": [schema_of(argument) for argument in arguments]}
    return {}


def _object(cls: type[Any]) -> Schema:
    hints = get_type_hints(cls)
    listed = fields(cls)
    found: Schema = {
        "type": "object",
        "description": _first_paragraph(cls),
        "properties": {json_name(field): schema_of(hints[field.name]) for field in listed},
        "additionalProperties": False,
    }
    if needed := [json_name(field) for field in listed if _is_needed(field)]:
        found["required"] = needed
    return found


def _is_needed(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _first_paragraph(cls: type[Any]) -> str:
    return " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
