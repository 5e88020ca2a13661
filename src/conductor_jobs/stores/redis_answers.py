"""What the scripts in Redis answer, and what is kept there, read strictly: ValueError for what is not ours."""

from typing import cast

import msgspec

from ..lease import TERM_LIMIT, Holder, Node, NodeSeen, NodeState, Role
from ..records import LeaseRecord
from .redis_scripts import SCHEMA

# Of a node, beside its id and the times of its heartbeats: host, role, priority, version, incarnation, state,
# fingerprint.
_Described = tuple[str, Role, int, str, str, NodeState, str]


def taken_apart(reply: object) -> tuple[bytes, list[bytes]]:
    """Return a script's verdict and what follows it. Raises ValueError where that is that a lease is not ours."""
    verdict, *facts = cast("list[bytes]", reply)
    if verdict == b"foreign":
        raise ValueError(_objection(*(fact.decode(errors="replace") for fact in facts)))
    return verdict, facts


def _objection(field: str, text: str) -> str:
    if field == "schema" and text.isdigit():
        return f"it has schema version {text!r}, and this conductor-jobs knows {SCHEMA}"
    if field == "term" and text == str(TERM_LIMIT - 1):
        return "no number is left for its next term"
    return f"its {field} is {text!r}, which no conductor-jobs wrote"


def lease_record(now: int, *kept: bytes) -> LeaseRecord | None:
    """Return a lease's record, or None for no fields, as it stands at `now`, in microseconds of the server's clock."""
    if not kept:
        return None
    _schema, node_id, incarnation, term, ttl_us, expires_at_us, _server, released = kept
    holder = Holder(node_id.decode(), incarnation.decode())
    # Counted from `now`: a float of this epoch's seconds cannot tell microseconds apart.
    expires_in = (int(expires_at_us) - now) / 1e6
    return LeaseRecord(holder, int(term), int(ttl_us) / 1e6, expires_in, released == b"1")


def described(node: Node, incarnation: str, state: NodeState, fingerprint: str) -> str:
    """Return what is kept of a node beside its id and its times."""
    facts: _Described = (node.host, node.role, node.priority, node.version, incarnation, state, fingerprint)
    return msgspec.json.encode(facts).decode()


def node_seen(node_id: bytes, kept: bytes) -> NodeSeen:
    """Return a node as its last heartbeat described it."""
    first_seen_at, last_seen_at, facts = kept.split(b" ", 2)
    host, role, priority, version, incarnation, state, fingerprint = msgspec.json.decode(facts, type=_Described)
    node = Node(node_id.decode(), host, role, priority, version)
    return NodeSeen(node, incarnation, state, float(first_seen_at), float(last_seen_at), fingerprint)
