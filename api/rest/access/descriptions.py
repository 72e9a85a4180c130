"""What the routes of rights and of the audit log take and give, as OpenAPI says it."""

from api.rest.descriptions import NAME, NUMBER, TEXT, TEXTS, TIME, Schema, in_path, listed, record
from api.rest.openapi import answers, body, query, reference
from controlplane.store.access.tokens import MOST_SECONDS
from federation.access.rights import ROLES

GRANT = record({"role": {"type": "string", "enum": list(ROLES)}}, {"clusters": TEXTS, "namespaces": TEXTS, "tiers": TEXTS})  # fmt: skip
GRANTS: Schema = {"type": "array", "items": GRANT}
WHO: Schema = {
    "summary": "Who is asking, and what they may",
    "responses": answers("200", record({"name": TEXT, "grants": GRANTS, "rights": TEXTS}), "403", "422"),
}
OF_A_TOKEN: Schema = {"id": TEXT, "name": TEXT, "grants": GRANTS, "expires": TEXT, "created": TEXT, "createdBy": TEXT}  # fmt: skip
CREATE: Schema = {
    "summary": "An API token, shown this once; it may do nothing that its maker may not",
    "requestBody": body(
        record(
            {"name": NAME, "grants": {**GRANTS, "minItems": 1}},
            {"ttlSeconds": {"type": "integer", "minimum": 1, "maximum": MOST_SECONDS}},
        )
    ),
    "responses": answers("201", record({**OF_A_TOKEN, "token": TEXT}), "400", "403", "413", "422"),
}
LIST: Schema = {
    "summary": "API tokens that may do nothing that you may not, without their secrets",
    "responses": answers("200", listed(record(OF_A_TOKEN)), "403", "422"),
}
REVOKE: Schema = {
    "summary": "Make an API token useless",
    "parameters": [in_path("token_id", TEXT)],
    "responses": answers("204", None, "403", "404", "422"),
}
APPROVE: Schema = {
    "summary": "Let a cluster in that another person asked for",
    "parameters": [in_path("name", TEXT)],
    "responses": answers("200", reference("Cluster"), "403", "404", "409", "422"),
}
ENTRY = record(
    {
        "sequence": NUMBER, "at": TIME, "actor": TEXT, "address": TEXT, "request": TEXT, "action": TEXT, "subject": TEXT, "before": TEXT,
        "after": TEXT, "hash": TEXT,
    }
)  # fmt: skip
LOG: Schema = {
    "summary": "The audit log, the oldest first",
    "parameters": [
        query("after", "only what comes after this number", "integer", minimum=0),
        query("limit", "of a page", "integer", minimum=1, maximum=5000),
        query("actor", "by this one"),
        query("action", "of this kind"),
        query("subject", "of subjects that begin so: a kind, or a kind and a path"),
        query("since", "not before this time (RFC 3339)"),
    ],
    "responses": answers(
        "200",
        record({"items": {"type": "array", "items": ENTRY}, "written": NUMBER, "head": TEXT}),
        "403", "422",
    ),
}  # fmt: skip
