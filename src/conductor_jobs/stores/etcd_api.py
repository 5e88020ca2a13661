"""What is said to etcd v3, and what it answers, as JSON: the part of its API that a lease store needs.

Protobuf's JSON writes integers of 64 bits as strings, and bytes in base64, and leaves out whatever is zero, false or
empty: hence the defaults, and a decoder that reads an integer from a string. Whatever has another shape is refused.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar, final

import msgspec

# A message of ours on its way to etcd.
Message = dict[str, object]
Answer = TypeVar("Answer", bound=msgspec.Struct)


@final
class Header(msgspec.Struct, frozen=True):
    """The state of the cluster that an answer speaks of, and the term of its own leader election (Raft).

    Neither is ever 0: where one is missing, something between etcd and us has dropped it.
    """

    revision: int
    raft_term: int


@final
class KeyValue(msgspec.Struct, frozen=True):
    """A key as it stands; `lease` is the number of the etcd lease that it lives by, or 0."""

    key: bytes
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


@final
class Found(msgspec.Struct, frozen=True):
    """The answer to a read: the keys that are there."""

    header: Header
    kvs: Sequence[KeyValue] = ()


@final
class Transacted(msgspec.Struct, frozen=True):
    """The answer to a transaction: whether it was carried out."""

    header: Header
    succeeded: bool = False


@final
class Granted(msgspec.Struct, frozen=True):
    """A new etcd lease: its number, and its seconds, which may be more than were asked for."""

    lease: int = msgspec.field(name="ID")
    ttl: int = msgspec.field(name="TTL")


@final
class Kept(msgspec.Struct, frozen=True):
    """An etcd lease that was kept alive for its `ttl`; 0 when there is no such lease (any more)."""

    header: Header
    ttl: int = msgspec.field(name="TTL", default=0)


@final
class KeptAlive(msgspec.Struct, frozen=True):
    """The answer to a keep-alive."""

    result: Kept


@final
class EtcdLease(msgspec.Struct, frozen=True):
    """An etcd lease that was begun or kept alive for `seconds`; 0 if it was found to be over.

    `raft_term` is that of a keep-alive, None for a new one, whose beginning is a write like others.
    """

    number: int
    seconds: int
    raft_term: int | None = None

    def counts_in(self, raft_term: int) -> bool:
        """Return whether it was etcd's true leader that kept it alive, given a later transaction's term."""
        return self.raft_term is None or (self.seconds > 0 and self.raft_term == raft_term)


@final
class TimeToLive(msgspec.Struct, frozen=True):
    """The whole seconds that an etcd lease has left, rounded down; -1 when there is no such lease."""

    ttl: int = msgspec.field(name="TTL", default=0)


@final
class Authenticated(msgspec.Struct, frozen=True):
    """A login."""

    token: str


@final
class Nothing(msgspec.Struct, frozen=True):
    """An answer of which nothing is needed but that it came."""


@final
class Event(msgspec.Struct, frozen=True):
    """A key that was written, or deleted."""

    kv: KeyValue
    type: Literal["PUT", "DELETE"] = "PUT"


@final
class Watched(msgspec.Struct, frozen=True):
    """One message of a watch; `canceled` ends it."""

    canceled: bool = False
    cancel_reason: str = ""
    compact_revision: int = 0
    events: Sequence[Event] = ()


@final
class ErrorDetail(msgspec.Struct, frozen=True):
    """An error as a stream tells of it; what its status code is called depends on etcd's version."""

    message: str = ""
    code: int = 0
    grpc_code: int = 0


@final
class Refusal(msgspec.Struct, frozen=True):
    """An error, with a status code of gRPC."""

    error: ErrorDetail | str = ""
    code: int = 0
    message: str = ""

    def reason(self) -> tuple[str, int]:
        """Return what is wrong, and the status code; neither, if this was no error."""
        if isinstance(self.error, ErrorDetail):
            return self.error.message, self.error.code or self.error.grpc_code
        return self.message or self.error, self.code


@final
class Streamed(msgspec.Struct, frozen=True):
    """One line of a watch."""

    result: Watched


def decoded(data: bytes | str, kind: type[Answer]) -> Answer:
    """Return an answer of etcd's. Raises ValueError for whatever is none."""
    return msgspec.json.decode(data, type=kind, strict=False)


def put(key: bytes, value: bytes, lease: int = 0) -> Message:
    """Write a key, which is deleted when that etcd lease runs out."""
    return {"request_put": {"key": key, "value": value, "lease": str(lease)}}


def delete(key: bytes) -> Message:
    """Delete a key."""
    return {"request_delete_range": {"key": key}}


def unchanged_since(key: bytes, mod_revision: int) -> Message:
    """Compare: the key was last written at that revision, or is not there, for 0."""
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(mod_revision)}


def unwritten_since(key: bytes, end: bytes, revision: int) -> Message:
    """Compare: no key from `key` up to but without `end` has been written after that revision."""
    later = str(revision + 1)
    return {"key": key, "range_end": end, "target": "MOD", "result": "LESS", "mod_revision": later}


def holds(key: bytes, value: bytes) -> Message:
    """Compare: the key is there, with that value."""
    return {"key": key, "target": "VALUE", "result": "EQUAL", "value": value}


def lives_by(key: bytes, lease: int) -> Message:
    """Compare: the key lives by that etcd lease, or by none or is not there, for 0."""
    return {"key": key, "target": "LEASE", "result": "EQUAL", "lease": str(lease)}


def watching(key: bytes, end: bytes, from_revision: int) -> Message:
    """Be told of whatever is written from `key` up to but without `end`, beginning with that revision."""
    return {"create_request": {"key": key, "range_end": end, "start_revision": str(from_revision)}}
