"""What the routes that are not of one kind take and give, as OpenAPI says it."""

from typing import Any

from api.rest.openapi import DRY_RUN, IDEMPOTENCY, answers, body, query, reference
from federation.kinds.registry import KINDS

Schema = dict[str, Any]
MAX_TTL, MAX_USES = 7 * 86400, 1000
"""Of a join token, as the control plane keeps to: seconds, nodes."""
TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
TIME: Schema = {"type": "string", "format": "date-time"}
NUMBER: Schema = {"type": "integer"}
TEXTS: Schema = {"type": "array", "items": TEXT}


def record(needed: Schema, optional: Schema | None = None, *, is_closed: bool = True) -> Schema:
    """An object. Closed: a field that it does not have is refused."""
    found: Schema = {"type": "object", "properties": {**needed, **(optional or {})}}
    if needed:
        found["required"] = list(needed)
    if is_closed:
        found["additionalProperties"] = False
    return found


def listed(item: Schema) -> Schema:
    """A list of all."""
    return record({"items": {"type": "array", "items": item}})


def in_path(name: str, schema: Schema) -> Schema:
    """A parameter of a path."""
    return {"name": name, "in": "path", "required": True, "schema": schema}


PUBLIC: Schema = {"security": []}
"""Of a route that anyone may ask."""
ANY_DOCUMENT: Schema = {"anyOf": [reference(kind.name) for kind in KINDS]}
REVISION: Schema = {"type": "integer", "minimum": 0}
BULK = body(record({"items": {"type": "array", "items": ANY_DOCUMENT}}))
OUTCOME = record({"kind": TEXT, "path": TEXT, "result": TEXT})
OUTCOMES = record({"revision": NUMBER, "outcomes": {"type": "array", "items": OUTCOME}})
CHANGES = answers("200", OUTCOMES, "400", "403", "404", "409", "412", "413", "422")
APPLY: Schema = {"summary": "Apply documents, all or none", "parameters": [DRY_RUN, IDEMPOTENCY], "requestBody": BULK, "responses": CHANGES}  # fmt: skip
DELETE: Schema = {**APPLY, "summary": "Delete documents, all or none"}

COLUMN = record({"title": TEXT, "wide": {"type": "boolean"}})
KIND = record({
    "name": TEXT, "plural": TEXT, "shortNames": TEXTS, "scope": TEXT, "readOnly": {"type": "boolean"},
    "columns": {"type": "array", "items": COLUMN},
})  # fmt: skip
KINDS_OF: Schema = {"summary": "The kinds there are", "responses": answers("200", listed(KIND), "403", "422")}
VERSION: Schema = {**PUBLIC, "summary": "The version of the control plane", "responses": answers("200", record({"version": TEXT}), "422")}  # fmt: skip
BEHIND = record({"node": TEXT, "why": TEXT})
PROGRESS = record({
    "revision": NUMBER, "enforced": TEXTS, "behind": {"type": "array", "items": BEHIND}, "complete": {"type": "boolean"},
    "milliseconds": {"type": "number"},
})  # fmt: skip
WAIT = query("wait", "seconds to wait for it to be enforced everywhere, 60 at most", "number", minimum=0)
ROLLOUT: Schema = {
    "summary": "How far a revision has come",
    "parameters": [in_path("revision", REVISION), WAIT],
    "responses": answers("200", PROGRESS, "403", "404", "422"),
}

OF_A_TOKEN: Schema = {"id": TEXT, "cluster": TEXT, "expires": TIME}
ASKED = record(
    {"cluster": NAME},
    {"ttlSeconds": {"type": "integer", "minimum": 1, "maximum": MAX_TTL}, "uses": {"type": "integer", "minimum": 1, "maximum": MAX_USES},
     "role": {"type": "string", "enum": ["node", "relay"]}, "os": {"type": "string", "enum": ["linux", "windows"]}, "prefix": TEXT, "node": TEXT},
)  # fmt: skip
CREATE_TOKEN: Schema = {
    "summary": "A join token, shown this once",
    "requestBody": body(ASKED),
    "responses": answers("201", record({**OF_A_TOKEN, "token": TEXT}), "400", "403", "404", "413", "422"),
}
USES: Schema = {"type": "array", "items": record({"node": TEXT, "source": TEXT, "at": TIME})}
LIST_TOKENS: Schema = {
    "summary": "All join tokens, without their secrets",
    "responses": answers(
        "200",
        listed(
            record(
                {
                    **OF_A_TOKEN,
                    "usesLeft": NUMBER,
                    "role": TEXT,
                    "os": TEXT,
                    "prefix": TEXT,
                    "node": TEXT,
                    "createdBy": TEXT,
                    "created": TEXT,
                    "used": USES,
                }
            )
        ),
        "403",
        "422",
    ),
}
REVOKE_TOKEN: Schema = {
    "summary": "Make a join token useless",
    "parameters": [in_path("token_id", TEXT)],
    "responses": answers("204", None, "403", "404", "422"),
}

ENROLMENT = record({"token": NAME, "cluster": NAME, "node": NAME}, {"os": TEXT, "addresses": TEXTS, "podPrefixes": TEXTS, "csr": TEXT, "role": {"type": "string", "enum": ["node", "relay"]}}, is_closed=False)  # fmt: skip
JOIN: Schema = {
    **PUBLIC,
    "summary": "Enrol a node (or let a relay in) by its join token: for a signing request a certificate, without TLS a credential, shown this once",
    "requestBody": body(ENROLMENT),
    "responses": answers("201", {"type": "object"}, "400", "403", "404", "409", "413", "422"),
}
OWN: Schema = {"cluster": TEXT, "node": TEXT}
FACTS = record({"publicKey": NAME, "listenPort": {"type": "integer", "minimum": 1, "maximum": 65535}}, OWN, is_closed=False)  # fmt: skip
KEY: Schema = {
    "summary": "A node's WireGuard facts",
    "requestBody": body(FACTS),
    "responses": answers("204", None, "400", "403", "409", "413", "422"),
}
FAULT = record({"key": TEXT, "reason": TEXT, "message": TEXT}, is_closed=False)
ENFORCED = record({"revision": {**REVISION, "maximum": 2**53}}, {"faults": {"type": "array", "items": FAULT}, **OWN}, is_closed=False)  # fmt: skip
REPORT: Schema = {
    "summary": "What a node's kernel enforces",
    "requestBody": body(ENFORCED),
    "responses": answers("204", None, "400", "403", "413", "422"),
}
TOTALS: Schema = {
    "packets": {"type": "integer", "minimum": 0, "maximum": 2**62},
    "bytes": {"type": "integer", "minimum": 0, "maximum": 2**62},
}
PLACE: Schema = {"section": TEXT, "rule": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}}
COUNTED = record({"kind": NAME, "policy": NAME, **PLACE, **TOTALS}, is_closed=False)
COUNTS: Schema = {
    "summary": "What a node's kernel has counted of rules: totals that have changed",
    "requestBody": body(
        record({"counts": {"type": "array", "items": COUNTED, "maxItems": 1000}}, is_closed=False)
    ),
    "responses": answers("204", None, "400", "403", "413", "422"),
}
RULE_COUNTS: Schema = {
    "summary": "What nodes have counted of a policy's rules, summed",
    "parameters": [
        {**query("kind", "the policy's kind", "string"), "required": True},
        {**query("policy", "the policy's path: name, or cluster/namespace/name", "string"), "required": True},
    ],
    "responses": answers(
        "200",
        record({"items": {"type": "array", "items": record({**PLACE, **TOTALS})}, "nodes": NUMBER}),
        "403",
        "404",
        "422",
    ),
}
STREAM: Schema = {
    "summary": "What a node must know, as it changes, for ever",
    "parameters": [
        query("since", "revision up to which the node knows all", "integer", minimum=0),
        query(
            "trust",
            "digest of the trust bundle that the node has, ':', id of the authority of its certificate: it is told when they change",
        ),
    ],
    "responses": {
        **answers("200", None, "403", "422"),
        "200": {"description": "done", "content": {"application/x-ndjson": {"schema": {}}}},
    },
}

STATUS = record({"status": TEXT}, {"revision": NUMBER})
HEALTH: Schema = {**PUBLIC, "summary": "The process answers", "responses": answers("200", STATUS)}
READINESS: Schema = {
    **PUBLIC,
    "summary": "What stands can be told, if only as it was known last",
    "responses": answers("200", STATUS),
}
METRICS: Schema = {
    **PUBLIC,
    "summary": "Prometheus' text format",
    "responses": {"200": {"description": "done", "content": {"text/plain": {"schema": TEXT}}}},
}
