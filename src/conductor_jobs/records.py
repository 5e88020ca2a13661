"""The rules of a lease record, pure: for stores that keep a record and decide by one clock of their own (I4).

A store reads its record, asks here what becomes of it, and writes the answer back, all in one transaction.
`now` is always the store's clock, never a node's.
"""

from typing import final

import msgspec

from .lease import Holder, LeaseGrant, Operation


@final
class LeaseRecord(msgspec.Struct, frozen=True):
    """A lease as a store remembers it, for ever; released or expired, its term is kept.

    `ttl` is in seconds, `expires_at` in seconds of the store's clock.
    """

    holder: Holder
    term: int
    ttl: float
    expires_at: float
    released: bool = False

    def held_at(self, now: float) -> bool:
        """Return whether somebody holds the lease at `now`."""
        return not self.released and now < self.expires_at


def acquire(
    record: LeaseRecord | None, holder: Holder, ttl: float, term: int | None, now: float, *, barred: bool
) -> LeaseRecord | None:
    """Return the record that confirms what `LeaseStore.acquire` asks for, or None to refuse it."""
    if barred:
        return None
    return campaign(record, holder, ttl, now) if term is None else renew(record, holder, term, ttl, now)


def release(record: LeaseRecord | None, holder: Holder) -> LeaseRecord | None:
    """Return the record freed, its term kept, or None when it is not this incarnation's to free."""
    if record is None or record.holder != holder or record.released:
        return None
    return msgspec.structs.replace(record, released=True)


def was_held(record: LeaseRecord | None, holder: Holder, now: float) -> bool:
    """Return whether `holder` held the lease at `now`."""
    return record is not None and record.holder == holder and record.held_at(now)


def campaign(record: LeaseRecord | None, holder: Holder, ttl: float, now: float) -> LeaseRecord | None:
    """Return the record of a new term for `holder`, or None while another holds the lease.

    Its own unexpired lease is taken under a new number too: the answer to an earlier renewal may have been lost,
    and two terms with one number would share a fencing token.
    """
    if record is None:
        return LeaseRecord(holder, 1, ttl, now + ttl)
    if record.held_at(now) and record.holder != holder:
        return None
    return LeaseRecord(holder, record.term + 1, ttl, now + ttl)


def renew(record: LeaseRecord | None, holder: Holder, term: int, ttl: float, now: float) -> LeaseRecord | None:
    """Return the record with its expiry moved, or None unless this very term is held, unexpired."""
    if record is None or record.holder != holder or record.term != term or not record.held_at(now):
        return None
    return msgspec.structs.replace(record, ttl=ttl, expires_at=now + ttl)


def is_present(record: LeaseRecord | None, term: int) -> bool:
    """Return whether a fenced write under `term` is to be kept: no later term has begun, and it was not released."""
    return record is not None and record.term == term and not record.released


def stale_text(record: LeaseRecord | None, lease_name: str, term: int) -> str:
    """Say why a fenced write under `term` is refused."""
    if record is None:
        state = "nobody has held it yet"
    elif record.term != term:
        state = f"its term is {record.term}"
    else:
        state = "that term has been released"
    return f"a write under term {term} of lease {lease_name!r} was refused: {state}"


def restamped(record: LeaseRecord, now: float) -> LeaseRecord:
    """Return a record whose expiry was counted on a clock that is gone: it gets its whole ttl again."""
    return msgspec.structs.replace(record, expires_at=now + record.ttl)


def answer(
    record: LeaseRecord | None, *, is_leader: bool, operation: Operation, now: float, unix_now: float
) -> LeaseGrant:
    """Tell the asker how the lease stands."""
    if record is None:
        return LeaseGrant(None, 0, False, operation, unix_now, unix_now, 0.0)
    expires_in = max(0.0, record.expires_at - now) if not record.released else 0.0
    renewed_at = unix_now - (record.ttl - (record.expires_at - now))
    return LeaseGrant(
        holder_id=record.holder.node_id,
        term=record.term,
        is_leader=is_leader,
        operation=operation,
        renewed_at=renewed_at,
        lease_expires_at=unix_now + expires_in,
        expires_in=expires_in,
    )
