"""What is decided from what was seen of a lease in etcd, what is written of it, and what is answered."""

import time
from typing import Final

from .. import records
from ..errors import Unusable
from ..lease import TERM_LIMIT, Holder, LeaseGrant, Operation
from ..records import LeaseRecord
from .etcd_keys import Seen, StoredRecord

# Etcd makes no shorter ones, by its default election timeout of a second.
SHORTEST_TTL: Final = 2.0


def check_ttl(ttl: float) -> None:
    """Raise Unusable for what etcd does not grant."""
    if ttl < SHORTEST_TTL:
        raise Unusable(
            f"ttl must be at least {SHORTEST_TTL:g} seconds with a lease store in etcd, not {ttl:g}: "
            "etcd grants no shorter leases."
        )


def decided(lease_name: str, seen: Seen, holder: Holder, ttl: float, term: int | None) -> LeaseRecord | None:
    """Return the record that confirms what `LeaseStore.acquire` asks for, or None to refuse it."""
    changed = records.acquire(seen.lease_record(ttl), holder, ttl, term, 0.0, barred=False)
    if changed is not None and changed.term == TERM_LIMIT:
        raise Unusable(f"etcd lease {lease_name!r} has no number left for its next term.")
    return changed


def answered(record: LeaseRecord | None, term: int | None, *, is_leader: bool) -> LeaseGrant:
    """Tell the asker how the lease stands, `term` being what was asked for."""
    operation: Operation = "acquire" if term is None else "renew"
    return records.answer(record, is_leader=is_leader, operation=operation, now=0.0, unix_now=time.time())


def stored(record: LeaseRecord, granted: int) -> StoredRecord:
    """Return a record as it is written, its etcd lease being of `granted` seconds."""
    holder = record.holder
    return StoredRecord(
        node_id=holder.node_id,
        incarnation=holder.incarnation,
        term=record.term,
        ttl=record.ttl,
        granted=granted,
        released=False,
    )
