"""What relays' own routes take and give, as OpenAPI says it."""

from api.rest.descriptions import NUMBER, REVISION, TEXT, Schema, record
from api.rest.openapi import answers, body

FAULT = record({"key": TEXT, "reason": TEXT, "message": TEXT}, is_closed=False)
REPORT = record({"behalf": TEXT, "revision": REVISION}, {"faults": {"type": "array", "items": FAULT}}, is_closed=False)  # fmt: skip
REFUSED = record({"index": NUMBER, "code": TEXT, "detail": TEXT})
REPORTS: Schema = {
    "summary": "What many nodes' kernels enforce, told by their relay; `behalf`: each node's certificate (DER in base64)",
    "requestBody": body(
        record(
            {"reports": {"type": "array", "items": REPORT, "minItems": 1, "maxItems": 500}}, is_closed=False
        )
    ),
    "responses": answers(
        "200", record({"refused": {"type": "array", "items": REFUSED}}), "400", "403", "413", "422"
    ),
}
