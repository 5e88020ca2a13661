"""What client and server of the control API say to each other of leases and nodes: JSON, its fields in camelCase.

A request with a field that is unknown, missing, of another type or against its rule can neither be made nor decoded;
what is said names field, value and rule. Whoever reads an answer passes over fields that it does not know, so that a
newer server may say more.
"""

import math
from typing import Final, Literal, final

import msgspec

from ..lease import TERM_LIMIT, Holder, LeaseGrant, Node, NodeSeen, NodeState, Operation, Role, is_name
from .http_rules import LONGEST_NAME, check, check_names, check_term, check_words

Event = Literal["released", "begun"]

LONGEST_TTL: Final = 7 * 86_400.0
#: The error code of a write under a term that is not the present one.
STALE_TERM: Final = "stale_term"
#: How long one question of `GET /v1/leader/wait` may stay open, in seconds.
LONGEST_WAIT: Final = 30.0


@final
class AcquireRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`POST /v1/leader/acquire`: renew exactly `term`, or, without one, campaign. `ttl` is in seconds."""

    lease_name: str
    controller_id: str
    incarnation: str
    ttl: float
    term: int | None = None

    def __post_init__(self) -> None:
        check_names(self, "lease_name", "controller_id", "incarnation")
        ttl_holds = math.isfinite(self.ttl) and 0 < self.ttl <= LONGEST_TTL
        check(ttl_holds, "ttl", self.ttl, f"a positive number of seconds, at most {LONGEST_TTL:g}")
        term_holds = self.term is None or 0 <= self.term < TERM_LIMIT
        check(term_holds, "term", self.term, "null or an integer from 0 to 2**63 - 1")

    @property
    def holder(self) -> Holder:
        """Who asks."""
        return Holder(self.controller_id, self.incarnation)


@final
class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`POST /v1/leader/release`: free what this incarnation holds, and bar it."""

    lease_name: str
    controller_id: str
    incarnation: str

    def __post_init__(self) -> None:
        check_names(self, "lease_name", "controller_id", "incarnation")

    @property
    def holder(self) -> Holder:
        """Who asks."""
        return Holder(self.controller_id, self.incarnation)


@final
class LeaseQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`GET /v1/leader` and `GET /v1/controllers`: of which lease."""

    lease_name: str

    def __post_init__(self) -> None:
        check_names(self, "lease_name")


@final
class WaitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`GET /v1/leader/wait`: answer once `term` was released or has begun, or a later one has, or after `timeout`.

    `timeout` is in seconds.
    """

    lease_name: str
    term: int
    event: Event = "released"
    timeout: float = LONGEST_WAIT

    def __post_init__(self) -> None:
        check_names(self, "lease_name")
        check_term(self.term)
        holds = math.isfinite(self.timeout) and 0 <= self.timeout <= LONGEST_WAIT
        check(holds, "timeout", self.timeout, f"a number of seconds from 0 to {LONGEST_WAIT:g}")


@final
class Heartbeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`POST /v1/controllers/heartbeat`: a node's sign of life."""

    lease_name: str
    controller_id: str
    incarnation: str
    host: str
    role: Role
    priority: int
    version: str
    state: NodeState
    fingerprint: str

    def __post_init__(self) -> None:
        check_names(self, "lease_name", "incarnation")
        check_words(self, "controller_id", "host", "version")
        check(-(2**63) <= self.priority < 2**63, "priority", self.priority, "an integer of 64 bits at most")
        holds = is_name(f"x{self.fingerprint}") and len(self.fingerprint) <= LONGEST_NAME
        check(holds, "fingerprint", self.fingerprint, f"a text of at most {LONGEST_NAME} characters without NUL")

    @property
    def node(self) -> Node:
        """The node that it tells of."""
        return Node(self.controller_id, self.host, self.role, self.priority, self.version)


@final
class Grant(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to an acquire. Times are unix seconds of the store's clock; `expires_in`, in seconds, decides."""

    holder_id: str | None
    term: int
    is_leader: bool
    operation: Operation
    renewed_at: float
    lease_expires_at: float
    expires_in: float

    def as_lease_grant(self) -> LeaseGrant:
        """Return it as stores say it."""
        return LeaseGrant(**msgspec.structs.asdict(self))


@final
class Leader(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `GET /v1/leader`: how the lease stands. `held` is whether anybody holds it now."""

    lease_name: str
    holder_id: str | None
    term: int
    held: bool
    renewed_at: float
    lease_expires_at: float
    expires_in: float


@final
class Released(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a release: whether an unexpired lease was freed."""

    released: bool


@final
class Waited(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a wait: False when nothing had happened in time, or the server stops."""

    happened: bool


@final
class Controller(msgspec.Struct, frozen=True, rename="camel"):
    """A node as its last heartbeat described it; times in unix seconds of the store's clock."""

    controller_id: str
    incarnation: str
    host: str
    role: Role
    priority: int
    version: str
    state: NodeState
    first_seen_at: float
    last_seen_at: float
    fingerprint: str

    @classmethod
    def of(cls, seen: NodeSeen) -> "Controller":
        """Return it as it is sent."""
        node = seen.node
        return cls(
            *(node.node_id, seen.incarnation, node.host, node.role, node.priority, node.version),
            *(seen.state, seen.first_seen_at, seen.last_seen_at, seen.fingerprint),
        )

    def as_node_seen(self) -> NodeSeen:
        """Return it as stores say it."""
        node = Node(self.controller_id, self.host, self.role, self.priority, self.version)
        seen = (self.first_seen_at, self.last_seen_at)
        return NodeSeen(node, self.incarnation, self.state, *seen, self.fingerprint)


@final
class Controllers(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `GET /v1/controllers`."""

    controllers: list[Controller]


@final
class Nothing(msgspec.Struct, frozen=True):
    """The answer to what only has to be done."""


@final
class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The envelope: `{"ok": true, "data": {…}}`, or `{"ok": false, "error": "code", "message": "…"}`."""

    ok: bool
    data: msgspec.Raw = msgspec.Raw()
    error: str | None = None
    message: str | None = None
