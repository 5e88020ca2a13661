"""What the engine and the lease stores agree on: who asks, what is answered, what a store must do.

A store in a third party's package needs only this module and `conductor_jobs.errors`; one that decides by itself also
finds the rules of a lease record in `conductor_jobs.records`, and clocks in `conductor_jobs.clocks`. Two of its
instances that keep their leases in one place should be equal, so that two conductors of a process are told apart
by the names of their leases.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard, final, runtime_checkable

import msgspec

from ._version import __version__
from .failures import shown

Operation = Literal["acquire", "renew"]
Role = Literal["primary", "standby"]
NodeState = Literal["leader", "standby", "stopped"]

PRIMARY_PRIORITY = 100
STANDBY_PRIORITY = 50
# Terms end below it: a fencing token is kept in databases, ours and users', whose integers have 64 bits.
TERM_LIMIT = 2**63


@final
class Holder(msgspec.Struct, frozen=True):
    """Who holds or wants a lease: a node, and the incarnation that tells its lives apart."""

    node_id: str
    incarnation: str


@final
class LeaseGrant(msgspec.Struct, frozen=True):
    """A store's answer to `acquire`.

    `holder_id` and `term` speak of the lease as it stands now, whoever holds it: the node id (None when nobody
    ever did) and the number of its latest term (0 when there was none). `renewed_at` and `lease_expires_at` are
    unix seconds by the store's clock, for display; `expires_in` is the seconds that remain, and decides.

    With `is_leader`, `holder_id` is the asker's node id, `term` is 1 or more and below 2**63, and `expires_in` finite
    and not negative. An answer that breaks these rules, or has fields of other types, counts as a failed call.
    """

    holder_id: str | None
    term: int
    is_leader: bool
    operation: Operation
    renewed_at: float
    lease_expires_at: float
    expires_in: float


@runtime_checkable
class LeaseStore(Protocol):
    """Keeps one lease per name. Every call is atomic, and may be cancelled, its outcome then being unknown."""

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """Renew exactly `term`, or, with None, campaign for a new term. `ttl` is in seconds.

        A renewal is confirmed only while the lease is unexpired and its holder, incarnation and term match. A
        campaign takes a lease that is free, expired, or this holder's own, always under a number one higher than
        the last. A holder that was released before gets nothing. Whoever is refused is told who holds the lease.

        Cancelling the call leaves its outcome unknown. Any exception but `Unusable` means: try again later.
        """
        ...

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """Free what this incarnation holds, and bar it for ever, so that a late call of it takes nothing.

        The number of the term is kept. Returns whether an unexpired lease was freed. Cancelling the call leaves its
        outcome unknown.
        """
        ...


@runtime_checkable
class ReleaseWatcher(Protocol):
    """What some stores can do besides: tell a standby at once what becomes of the lease.

    All standbys of a lease ask at once, so a store with a server answers from what one subscription has told it. What
    is told is a hint that may come late or never. A store with only one of the two methods is polled.
    """

    async def wait_released(self, lease_name: str, term: int) -> None:
        """Return once `term` of the lease has been released or a later one has begun; at once if so already.

        Cancelling stops the waiting only.
        """
        ...

    async def wait_begun(self, lease_name: str, term: int) -> None:
        """Return once `term` of the lease or a later one has begun; at once if so already.

        Cancelling stops the waiting only.
        """
        ...


def is_name(value: object) -> TypeGuard[str]:
    """Return whether a value is a text that names something, and that every store can keep (no database has NUL)."""
    try:
        return isinstance(value, str) and bool(str.strip(value)) and b"\0" not in str.encode(value)
    except UnicodeEncodeError:  # a lone surrogate, as of an undecodable file name
        return False


def is_lease_store(store: object) -> TypeGuard[LeaseStore]:
    """Return whether a store has what every lease store has.

    Asked by attribute, here and below: isinstance overlooks what a wrapper passes on by `__getattr__`.
    """
    return has_methods(store, "acquire", "release")


def watches_releases(store: object) -> TypeGuard[ReleaseWatcher]:
    """Return whether a store can tell of releases, and of the terms that follow."""
    return has_methods(store, "wait_released", "wait_begun")


def keeps_nodes(store: object) -> TypeGuard["NodeRegistry"]:
    """Return whether a store remembers nodes."""
    return has_methods(store, "heartbeat", "nodes")


def has_methods(store: object, *methods: str) -> bool:
    """Return whether a store has all of these methods."""
    return all(callable(getattr(store, method, None)) for method in methods)


@final
@dataclass(frozen=True, slots=True, init=False)
class Node:
    """A process that can lead: its name, host, configured role, priority in a tie, and version."""

    node_id: str
    host: str
    role: Role
    priority: int
    version: str

    def __init__(
        self,
        node_id: str | None = None,
        host: str | None = None,
        role: Role = "primary",
        priority: int | None = None,
        version: str | None = None,
    ) -> None:
        """Describe a node.

        `host` is this machine's name by default, `node_id` is `<host>-<pid>`, `priority` 100 for a primary and 50
        for a standby (below 100 it waits half a second after an expiry, so that others go first), an integer of 64
        bits at most; `version` is yours, or that of conductor-jobs. Raises ValueError naming the field.
        """
        if role not in ("primary", "standby"):
            raise ValueError(f"node role must be 'primary' or 'standby', not {shown(role)}.")
        host = _checked_name("host", socket.gethostname() if host is None else host)
        node_id = _checked_name("node_id", f"{host}-{os.getpid()}" if node_id is None else node_id)
        version = _checked_name("version", __version__ if version is None else version)
        if priority is None:
            priority = PRIMARY_PRIORITY if role == "primary" else STANDBY_PRIORITY
        if type(priority) is not int or not -(2**63) <= priority < 2**63:
            raise ValueError(f"node priority must be an integer of 64 bits at most, not {shown(priority)}.")
        object.__setattr__(self, "node_id", node_id)
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "priority", priority)
        object.__setattr__(self, "version", version)


def _checked_name(field: str, value: object) -> str:
    if not is_name(value):
        raise ValueError(f"node {field} must be a non-empty text that UTF-8 can hold, without NUL, not {shown(value)}.")
    return str.strip(value)


@final
class NodeSeen(msgspec.Struct, frozen=True):
    """A node as its last heartbeat described it; times are unix seconds by the store's clock.

    `incarnation` tells its lives apart; `state` is what it said of itself. `first_seen_at`: the first heartbeat of
    this incarnation, or the latest since, should the clock have been set back: never after `last_seen_at`.
    `fingerprint` is the same for nodes that have the same runners registered, with the same schedules; a short text.
    """

    node: Node
    incarnation: str
    state: NodeState
    first_seen_at: float
    last_seen_at: float
    fingerprint: str


@runtime_checkable
class NodeRegistry(Protocol):
    """What some stores can do besides: remember which nodes there are, by their heartbeats."""

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """Register the node, or refresh what is known of it; see `NodeSeen`. Cancelling leaves the outcome unknown."""
        ...

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """Return every node that ever sent a heartbeat, ordered by node id."""
        ...
