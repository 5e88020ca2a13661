"""Which keys an etcd lease store has, what is in them, and how a lease is read from them.

    PREFIX/lease/NAME/record                     holder, incarnation, term; never deleted, so that terms rise for ever
    PREFIX/lease/NAME/alive                      lives by an etcd lease: where it is missing, the lease has expired
    PREFIX/released/NAME/NODE/INCARNATION        an incarnation that is barred
    PREFIX/nodes/NAME/NODE                       a node's last heartbeat, and when its incarnation's first one was
    PREFIX/claims/NAME/RUNNER                    the latest claim of a runner
    PREFIX/paused/NAME/RUNNER                    empty, of a runner that is paused
    PREFIX/cursors/NAME/RUNNER                   the cursor of a runner, as it is

NAME, NODE, INCARNATION and RUNNER are percent-encoded. The number of the format is in the values of records and nodes,
not in the prefix: two versions side by side would have a leader each. That of the record is the number of what is
kept of runners too, since their fenced writes look at it.
"""

from typing import Annotated, Literal, final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from ..errors import Unusable
from ..lease import TERM_LIMIT, Holder, Node, NodeSeen, NodeState, Role
from ..records import LeaseRecord
from .etcd_api import Found, KeyValue, Message, delete, lives_by, put, unchanged_since


@final
class StoredRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A lease's record; `ttl` in seconds as asked for, `granted` as etcd gave them."""

    node_id: str
    incarnation: str
    term: Annotated[int, msgspec.Meta(ge=1, le=TERM_LIMIT - 1)]
    ttl: Annotated[float, msgspec.Meta(gt=0)]
    granted: Annotated[int, msgspec.Meta(gt=0)]
    released: bool
    format: Literal[2] = 2

    @property
    def holder(self) -> Holder:
        """Who holds the lease, or held it last."""
        return Holder(self.node_id, self.incarnation)


@final
class StoredNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A heartbeat; times are unix seconds by the clock of the node that sent it."""

    node_id: str
    host: str
    role: Role
    priority: int
    version: str
    incarnation: str
    state: NodeState
    first_seen_at: float
    last_seen_at: float
    fingerprint: str
    format: Literal[2] = 2

    def seen(self) -> NodeSeen:
        """Return it as `NodeRegistry.nodes` does."""
        node = Node(self.node_id, self.host, self.role, self.priority, self.version)
        return NodeSeen(node, self.incarnation, self.state, self.first_seen_at, self.last_seen_at, self.fingerprint)


@final
class Seen(msgspec.Struct, frozen=True):
    """A lease as it stood at one instant of etcd's, at the revision `at`.

    `revision` is that of the record, 0 where there is none; `etcd_lease` keeps the lease alive, 0 once it has expired;
    `renewal` is the revision that tells renewals apart.
    """

    at: int
    record: StoredRecord | None
    revision: int
    etcd_lease: int
    renewal: int

    def lease_record(self, expires_in: float) -> LeaseRecord | None:
        """Return the record as `conductor_jobs.records` takes it, `expires_in` seconds before its expiry.

        Etcd tells no time: the instant is zero. What decides is whether the etcd lease was there at it.
        """
        record = self.record
        if record is None:
            return None
        expires_at = expires_in if self.etcd_lease else 0.0
        return LeaseRecord(record.holder, record.term, record.ttl, expires_at, record.released)

    def after(self, revision: int, record: StoredRecord | None, etcd_lease: int) -> "Seen":
        """Return it once a transaction of that revision has kept it alive, and has written that record, if any."""
        return Seen(
            at=revision,
            record=record or self.record,
            revision=revision if record else self.revision,
            etcd_lease=etcd_lease,
            renewal=revision,
        )


@final
class LeaseKeys:
    """The keys of one lease, as one of its holders reads and writes them."""

    def __init__(self, prefix: str, lease_name: str, holder: Holder) -> None:
        root = f"{prefix}/lease/{part(lease_name)}/"
        self.lease_name: str = lease_name
        self.record: bytes = f"{root}record".encode()
        self.alive: bytes = f"{root}alive".encode()
        #: From where up to where the two are.
        self.range: tuple[bytes, bytes] = below(root)
        incarnation = (part(lease_name), part(holder.node_id), part(holder.incarnation))
        self.barred: bytes = "/".join((prefix, "released", *incarnation)).encode()

    def seen(self, found: Found) -> Seen:
        """Return what the keys of `range` say. Raises Unusable for what this conductor-jobs would not write."""
        by_key = {each.key: each for each in found.kvs}
        record, alive = by_key.get(self.record), by_key.get(self.alive)
        return Seen(
            at=found.header.revision,
            record=None if record is None else decoded_record(record),
            revision=0 if record is None else record.mod_revision,
            etcd_lease=0 if alive is None else alive.lease,
            renewal=0 if alive is None else alive.mod_revision,
        )

    def unchanged(self, seen: Seen) -> list[Message]:
        """Return the comparisons that hold as long as a decision made from `seen`, not being barred, still stands."""
        return [
            unchanged_since(self.record, seen.revision),
            lives_by(self.alive, seen.etcd_lease),
            unchanged_since(self.barred, 0),
        ]

    def writing(self, record: StoredRecord | None, *, alive_by: int) -> list[Message]:
        """Return the steps that write a record, if it changes, and its sign of life by an etcd lease, or by none, 0."""
        alive = put(self.alive, b"", alive_by) if alive_by else delete(self.alive)
        return [alive] if record is None else [put(self.record, msgspec.json.encode(record)), alive]


def decoded_record(stored: KeyValue) -> StoredRecord:
    """Return what is in a key of a lease. Raises Unusable, naming the key, for what we would not have written."""
    try:
        return msgspec.json.decode(stored.value, type=StoredRecord)
    except ValueError as error:
        raise not_ours(stored, error) from error


def decoded_node(stored: KeyValue) -> NodeSeen:
    """Return what is in a key of a node. Raises Unusable, naming the key, for what we would not have written."""
    try:
        return msgspec.json.decode(stored.value, type=StoredNode).seen()
    except ValueError as error:
        raise not_ours(stored, error) from error


def node_range(prefix: str, lease_name: str) -> tuple[bytes, bytes]:
    """Return from where up to where the nodes of a lease are."""
    return below(f"{prefix}/nodes/{part(lease_name)}/")


def node_key(prefix: str, lease_name: str, node_id: str) -> bytes:
    """Return the key of a node's heartbeats."""
    return f"{prefix}/nodes/{part(lease_name)}/{part(node_id)}".encode()


def runner_of(stored: KeyValue, folder: str) -> str:
    """Return the runner that a key of `folder` is of. Raises Unusable, naming the key, where it is none of ours."""
    encoded = stored.key[len(folder) :]
    try:
        runner = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise not_ours(stored, error) from error
    if part(runner).encode() != encoded:
        raise not_ours(stored, ValueError("its key is encoded otherwise"))
    return runner


def not_ours(stored: KeyValue, error: ValueError) -> Unusable:
    """Say of a key that something is wrong with what it holds, or with itself."""
    name = stored.key.decode(errors="replace")
    return Unusable(f"etcd key {name!r} holds what this conductor-jobs would not write: {error}.")


def below(folder: str) -> tuple[bytes, bytes]:
    """Return from where up to where the keys are that begin with `folder`, which ends in a slash."""
    return folder.encode(), f"{folder[:-1]}0".encode()  # "0" is the character after "/"


def part(name: str) -> str:
    """Return a name as a part of a key."""
    return quote(name, safe="")
