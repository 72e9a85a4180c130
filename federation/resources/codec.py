"""Documents to values and back: the one door to cattrs.

A document is what JSON or YAML gives: dicts, lists, strings, numbers. `decode` finds every fault, each with its JSON
pointer, and gives back a complete, checked resource. `encode` is its inverse.
"""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar, get_args, get_origin

from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from federation.errors import Fault, InvalidInput, shown
from federation.kinds.registry import kind_of
from federation.resources.foreign import framed, pointer_in
from federation.resources.grammar import escaped, label_faults, name_faults, quotes_missing
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, AnyResource, Metadata, Resource, Scope

C = TypeVar("C")
DOCUMENT_KEYS = {"apiVersion", "kind", "metadata", "spec", "status"}
NOUNS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def decode(document: Any, *, is_trusted: bool = False) -> AnyResource:
    """The resource of a document. Raises InvalidInput with every fault.

    With `is_trusted` (documents that the control plane itself stored or sent) the kind's `check` is not run again.
    """
    return decode_as(kind_of(document), document, is_trusted=is_trusted)


def decode_as(kind: Kind, document: Mapping[str, Any], *, is_trusted: bool = False) -> AnyResource:
    """The resource of a document of that kind, registered or not. Raises InvalidInput with every fault."""
    try:
        frame = framed(kind, document)
    except ValueError as error:
        raise _invalid(document, kind, [Fault("", str(error))]) from error
    try:
        return _decoded(kind, frame, is_trusted=is_trusted)
    except InvalidInput as error:
        moved = [Fault(pointer_in(document, fault.pointer), fault.message) for fault in error.faults]
        raise _invalid(document, kind, moved) from error


def _decoded(kind: Kind, document: Mapping[str, Any], *, is_trusted: bool) -> AnyResource:
    faults: list[Fault] = []
    for key in sorted(set(document) - DOCUMENT_KEYS):
        faults.append(
            Fault(f"/{escaped(str(key))}", f"unknown field; known: {', '.join(sorted(DOCUMENT_KEYS))}")
        )
    metadata = _structure(document.get("metadata", {}), Metadata, "/metadata", faults)
    given = {name: {} if document.get(name) is None else document[name] for name in ("spec", "status")}
    spec = _structure(given["spec"], kind.spec, "/spec", faults)
    status = _structure(given["status"], kind.status, "/status", faults)
    if metadata is not None and not is_trusted:
        faults.extend(metadata_faults(metadata, kind))
    if faults:
        raise _invalid(document, kind, faults)
    resource: AnyResource = Resource(kind=kind.name, metadata=metadata, spec=spec, status=status)
    if is_trusted:
        return resource
    faults.extend(kind.check(resource))
    if faults:
        raise _invalid(document, kind, faults)
    return kind.complete(resource)


def structured(value: Any, cls: type[C], pointer: str, faults: list[Fault]) -> C | None:
    """A part of a document as a frozen dataclass; None, and faults, when it is none."""
    found: C | None = _structure(value, cls, pointer, faults)
    return found


def encode(resource: AnyResource) -> dict[str, Any]:
    """The document of a resource: apiVersion, kind, metadata, spec, status; fields at their defaults are left out."""
    body: dict[str, Any] = {"apiVersion": API_VERSION, "kind": resource.kind}
    body["metadata"] = CONVERTER.unstructure(resource.metadata)
    body["spec"] = CONVERTER.unstructure(resource.spec)
    if status := CONVERTER.unstructure(resource.status):
        body["status"] = status
    return body


def metadata_faults(metadata: Metadata, kind: Kind) -> list[Fault]:
    """Names and labels that do not fit the kind's scope or the grammar of Kubernetes."""
    faults = []
    wanted = {"name": True, "cluster": False, "namespace": False}
    if kind.scope is not Scope.FEDERATION:
        wanted["cluster"] = not kind.is_cluster_optional
    if kind.scope is Scope.NAMESPACE:
        wanted["namespace"] = True
    for part, is_needed in wanted.items():
        value = getattr(metadata, part)
        is_allowed = (
            part == "name"
            or kind.scope is Scope.NAMESPACE
            or (part == "cluster" and kind.scope is Scope.CLUSTER)
        )
        if value and not is_allowed:
            faults.append(Fault(f"/metadata/{part}", f"a {kind.name} has no {part}"))
        elif value:
            faults += name_faults(part, value)
        elif is_needed:
            faults.append(Fault(f"/metadata/{part}", "is needed"))
    return [*faults, *label_faults("/metadata/labels", metadata.labels)]


def json_name(field: Any) -> str:
    """The name in documents of a dataclass field: camelCase, unless its metadata says otherwise."""
    head, *tail = field.name.split("_")
    return str(field.metadata.get("json", head + "".join(word.capitalize() for word in tail)))


def _structure(value: Any, cls: type[Any], pointer: str, faults: list[Fault]) -> Any:
    if not isinstance(value, Mapping):
        faults.append(Fault(pointer, f"an object is needed, not {shown(value)}"))
        return None
    try:
        return CONVERTER.structure(value, cls)
    except Exception as error:  # noqa: BLE001 - cattrs wraps whatever a field's constructor raised; all become faults
        faults.extend(_faults_of(error, pointer, cls))
        return None


def _faults_of(error: BaseException, pointer: str, cls: type[Any] | None) -> list[Fault]:
    match error:
        case ClassValidationError():
            owner = error.cl
            names = {f.name: json_name(f) for f in fields(owner)} if is_dataclass(owner) else {}
            noted, plain = error.group_exceptions()
            found = [
                fault
                for child, note in noted
                for fault in _faults_of(child, f"{pointer}/{escaped(names.get(note.name, note.name))}", None)
            ]
            return found + [fault for child in plain for fault in _faults_of(child, pointer, owner)]
        case IterableValidationError():
            noted_items, plain = error.group_exceptions()
            found = [
                fault
                for child, note in noted_items
                for fault in _faults_of(child, f"{pointer}/{escaped(str(note.index))}", None)
            ]
            return found + [fault for child in plain for fault in _faults_of(child, pointer, None)]
        case ForbiddenExtraKeysError():
            known = ", ".join(sorted(json_name(f) for f in fields(error.cl)))
            return [
                Fault(f"{pointer}/{escaped(k)}", f"unknown field; known: {known}")
                for k in sorted(error.extra_fields)
            ]
        case KeyError():
            wanted = {f.name: json_name(f) for f in fields(cls)} if cls and is_dataclass(cls) else {}
            name = str(error.args[0])
            return (
                [Fault(f"{pointer}/{wanted.get(name, name)}", "is needed")]
                if cls
                else [Fault(pointer, "is needed")]
            )
        case _:
            return [Fault(pointer, str(error) or type(error).__name__)]


def _invalid(document: Mapping[str, Any], kind: Kind, faults: list[Fault]) -> InvalidInput:
    metadata = document.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
    return InvalidInput(f"{kind.name} {name!r} is not valid", faults=faults)


def _prefix(value: Any, _type: Any = None) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value if isinstance(value, str) else str(value))
    except ValueError as error:
        if "has host bits set" in str(error):
            canonical = ip_network(value, strict=False)
            raise ValueError(f"{value} has host bits set; the canonical prefix is {canonical}") from None
        raise ValueError(f"{shown(value)} is not a prefix (like 10.0.0.0/8 or fd00::/8)") from None


def _address(value: Any, _type: Any = None) -> IPv4Address | IPv6Address:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is not an address")
    return ip_address(value)


def _exactly(cls: type[Any]) -> Any:
    def structure(value: Any, _type: Any) -> Any:
        is_bool_for_number = isinstance(value, bool) and cls is not bool
        if is_bool_for_number or not isinstance(value, (int, float) if cls is float else cls):
            raise TypeError(
                f"{NOUNS[cls]} is needed, not {shown(value)}{quotes_missing(value) if cls is str else ''}"
            )
        return cls(value)

    return structure


def _one_of(value: Any, union: Any) -> Any:
    members = get_args(union)
    if value is None and type(None) in members:
        return None
    for member in members:
        if _is_tuple(member) or (isinstance(member, type) and is_dataclass(member)):
            return CONVERTER.structure(value, member)
        if isinstance(value, member) and (member is bool or not isinstance(value, bool)):
            return value
        if member is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
    names = " or ".join(NOUNS.get(m, getattr(m, "__name__", "")) for m in members if m is not type(None))
    raise TypeError(f"{names} is needed, not {shown(value)}")


def _is_tuple(hint: Any) -> bool:
    origin: Any = get_origin(hint)
    return origin is tuple


def _list_of(converter: Converter, member: Any) -> Any:
    inner = converter.get_structure_hook(list[member])

    def structure(value: Any, _type: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError(f"a list is needed, not {shown(value)}")
        return tuple(inner(value, list[member]))

    return structure


def _build_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for plain in (str, int, float, bool):
        converter.register_structure_hook(plain, _exactly(plain))
    for union, parse in ((IPv4Network | IPv6Network, _prefix), (IPv4Address | IPv6Address, _address)):
        converter.register_structure_hook(union, parse)
    for cls in (IPv4Network, IPv6Network, IPv4Address, IPv6Address):
        converter.register_unstructure_hook(cls, str)
    converter.register_structure_hook_func(
        lambda t: (
            isinstance(t, types.UnionType) and t not in (IPv4Network | IPv6Network, IPv4Address | IPv6Address)
        ),
        _one_of,
    )

    converter.register_structure_hook_factory(_is_tuple, lambda t: _list_of(converter, get_args(t)[0]))

    def names(cls: type[Any]) -> dict[str, Any]:
        return {field.name: override(rename=json_name(field)) for field in fields(cls)}

    converter.register_structure_hook_factory(
        is_dataclass,
        lambda cls: make_dict_structure_fn(
            cls, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **names(cls)
        ),
    )
    converter.register_unstructure_hook_factory(
        is_dataclass,
        lambda cls: make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **names(cls)),
    )
    return converter


CONVERTER = _build_converter()
