"""What the routes of certificates take and give, as OpenAPI says it."""

from api.rest.descriptions import NAME, PUBLIC, TEXT, TEXTS, TIME, Schema, record
from api.rest.openapi import answers, body

GIVEN = record(
    {"certificate": TEXT, "serial": TEXT, "notBefore": TIME, "notAfter": TIME, "issued": TIME, "bundle": TEXT, "issuer": TEXT}
)  # fmt: skip
ISSUER = record({"id": TEXT, "domain": TEXT, "root": TEXT, "intermediate": TEXT})
TRUST: Schema = {
    **PUBLIC,
    "summary": "The roots that this control plane's certificates come from, to be held against a pin",
    "responses": answers(
        "200",
        record(
            {
                "bundle": TEXT,
                "hashes": TEXTS,
                "serverHash": TEXT,
                "issuers": {"type": "array", "items": ISSUER},
            }
        ),
        "404",
        "422",
    ),
}
AUTHORITY = record({"id": TEXT, "state": TEXT, "hash": TEXT, "created": TIME, "rootExpires": TIME, "expires": TIME})  # fmt: skip
HOLDING = record({"node": TEXT, "authority": TEXT, "expires": TEXT, "trusts": {"type": "boolean"}})
STATUS: Schema = {
    "summary": "The authorities, and which node depends on which",
    "responses": answers(
        "200",
        record({"items": {"type": "array", "items": AUTHORITY}, "nodes": {"type": "array", "items": HOLDING}}),
        "403", "404", "422",
    ),
}  # fmt: skip
ROTATE: Schema = {
    "summary": "One step of a rotation of the authority",
    "requestBody": body(
        record(
            {"step": {"type": "string", "enum": ["prepare", "issue", "drop"]}}, {"force": {"type": "boolean"}}
        )
    ),
    "responses": answers("200", record({"done": TEXT}), "400", "403", "404", "409", "413", "422"),
}
REVOKE: Schema = {
    "summary": "Void all that a node has to show; it has to join again",
    "requestBody": body(record({"cluster": NAME, "node": NAME})),
    "responses": answers("204", None, "400", "403", "404", "413", "422"),
}
ASKED = body(record({"csr": NAME}, is_closed=False))
RENEW: Schema = {
    "summary": "A new certificate for a node that has one; `proof`: a request by the key that the node has now, its subject's common name the SHA-256 of `csr`",
    "requestBody": body(record({"csr": NAME}, {"proof": TEXT}, is_closed=False)),
    "responses": answers("201", GIVEN, "400", "403", "404", "413", "422"),
}
EXCHANGE: Schema = {
    **RENEW,
    "summary": "A certificate for a bearer credential of before TLS, once",
    "requestBody": ASKED,
}
RECOVER: Schema = {
    **PUBLIC,
    "summary": "A new certificate for one that has expired, within the grace period, by the same key",
    "requestBody": body(record({"certificate": NAME, "csr": NAME}, is_closed=False)),
    "responses": answers("201", GIVEN, "400", "403", "404", "413", "422"),
}
CONFIRM: Schema = {
    "summary": "A node has this trust bundle",
    "requestBody": body(record({"digest": NAME}, is_closed=False)),
    "responses": answers("204", None, "400", "403", "413", "422"),
}
