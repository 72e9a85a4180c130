"""The tables. The database holds the invariants: names and addresses are unique, changes are numbered once."""

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

REVISION = BigInteger().with_variant(Integer, "sqlite")
"""A number that counts changes: 32 bits end after eight months at a hundred a second. SQLite's own integers have 64."""

counters = Table(
    "counters",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("value", REVISION, nullable=False),
    comment="revision, identity, tunnel: an update locks the row until commit, so numbers become visible in order",
)
resources = Table(
    "resources",
    METADATA,
    Column("kind", String(60), primary_key=True),
    Column("cluster", String(253), primary_key=True),
    Column("namespace", String(253), primary_key=True),
    Column("name", String(253), primary_key=True),
    Column("revision", REVISION, nullable=False, index=True),
    Column("document", Text, nullable=False),
)
addresses = Table(
    "addresses",
    METADATA,
    Column("address", String(45), primary_key=True),
    Column("owner", String(800), nullable=False, index=True),
    comment="every endpoint's and node's address belongs to one",
)
changes = Table(
    "changes",
    METADATA,
    Column("revision", REVISION, primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(60), nullable=False),
    Column("path", String(800), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("at", String(40), nullable=False),
    Column("document", Text, nullable=True, comment="null: deleted"),
)
identities = Table(
    "identities",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("labels", Text, nullable=False, unique=True),
)
join_tokens = Table(
    "join_tokens",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("cluster", String(253), nullable=False),
    Column("expires", String(40), nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("role", String(10), nullable=False, server_default="node", comment="node or relay"),
    Column("os", String(20), nullable=True, comment="null: any"),
    Column("prefix", String(60), nullable=True, comment="where from; null: anywhere"),
    Column("node", String(253), nullable=True, comment="its name; null: any"),
    Column("created", String(40), nullable=True),
    Column("created_by", String(200), nullable=True),
)
token_uses = Table(
    "token_uses",
    METADATA,
    Column("token", String(40), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("cluster", String(253), nullable=False),
    Column("node", String(253), nullable=False),
    Column("source", String(60), nullable=False, comment="address that the request came from"),
    Column("at", String(40), nullable=False, index=True),
    comment="who used a join token; outlives it",
)
authorities = Table(
    "authorities",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("domain", String(253), nullable=False, comment="SPIFFE trust domain"),
    Column("root", Text, nullable=False, comment="PEM"),
    Column("intermediate", Text, nullable=False, comment="PEM"),
    Column("sealed", Text, nullable=False, comment="the intermediate's private key, sealed by ca.secret"),
    Column("state", String(10), nullable=False, comment="next, issuing or retired"),
    Column("created", String(40), nullable=False),
)
certificates = Table(
    "certificates",
    METADATA,
    Column("serial", String(40), primary_key=True),
    Column("cluster", String(253), nullable=False),
    Column("node", String(253), nullable=False),
    Column("enrolment", String(40), nullable=False),
    Column("authority", String(40), nullable=False),
    Column("key_hash", String(64), nullable=False),
    Column("not_after", String(40), nullable=False, index=True),
    Column("issued", String(40), nullable=False),
    Column("trust", String(64), nullable=False, comment="digest of the trust bundle that its holder has"),
    comment="what was issued to nodes",
)
credentials = Table(
    "credentials",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("role", String(10), nullable=False, comment="user or node"),
    Column("cluster", String(253), nullable=False),
    Column("name", String(253), nullable=False),
)
api_tokens = Table(
    "api_tokens",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("grants", Text, nullable=False, comment="JSON: roles, and where they hold"),
    Column("created", String(40), nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("origin", String(200), nullable=False, comment="the person behind whoever made it"),
    Column("expires", String(40), nullable=True, index=True, comment="null: never"),
)
audit = Table(
    "audit",
    METADATA,
    Column("sequence", REVISION, primary_key=True, autoincrement=False),
    Column("at", String(64), nullable=False, index=True),
    Column("actor", String(200), nullable=False),
    Column("address", String(60), nullable=False),
    Column("request", String(100), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(900), nullable=False),
    Column("before", String(64), nullable=False),
    Column("after", String(64), nullable=False),
    Column("hash", String(64), nullable=False, comment="of this entry and the hash of the one before it"),
    comment="who did what; only ever appended to",
)
node_reports = Table(
    "node_reports",
    METADATA,
    Column("cluster", String(253), primary_key=True),
    Column("node", String(253), primary_key=True),
    Column("revision", REVISION, nullable=False),
    Column("faults", Text, nullable=False),
    Column("at", String(40), nullable=False),
)
rule_counts = Table(
    "rule_counts",
    METADATA,
    Column("policy", String(860), primary_key=True, comment="kind and path"),
    Column("section", String(40), primary_key=True),
    Column("rule", Integer, primary_key=True, autoincrement=False),
    Column("cluster", String(253), primary_key=True),
    Column("node", String(253), primary_key=True),
    Column("packets", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    comment="what each node's kernel has counted of each rule, as it told last",
)
tunnel_addresses = Table(
    "tunnel_addresses",
    METADATA,
    Column("address", String(45), primary_key=True),
    Column("owner", String(600), nullable=False, unique=True),
)
requests = Table(
    "requests",
    METADATA,
    Column("principal", String(200), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("revision", REVISION, nullable=False),
    Column("outcomes", Text, nullable=False),
    Column("at", String(40), nullable=False, index=True),
    comment="what became of a request, for who did not hear the answer and sends it again",
)
leases = Table(
    "leases",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("holder", String(200), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("expires", String(40), nullable=False),
    comment="who does what only one replica may do; each new holder counts the epoch up",
)
