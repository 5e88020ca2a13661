"""A lease store in etcd v3, spoken to by its JSON gateway.

What is decided here is written in one transaction that compares what the decision was made from, and is made again if
that has changed meanwhile. A lease has two keys: its record, which stays for ever so that terms rise for ever, and
a sign of life that an etcd lease keeps. Etcd deletes the sign of life when the etcd lease has run out, as one more
write in the order of all writes: so everybody agrees on when the lease expired, and no node's clock has a say.

**A renewal** first keeps the etcd lease alive, and then, in one transaction, sees that the record is still ours and
that the sign of life still lives by that etcd lease. The answer is true of the instant of the transaction: what the
keep-alive has begun cannot have ended before, since the lease is still there. In the other order a lease might be
kept alive that nobody has any more. A keep-alive is no write, though: a leader of etcd's that has been deposed
without having noticed answers it too, and it counts for nothing. Only in one and the same Raft term are keep-alive
and transaction the same leader's, so renewals compare the two, and ask again should they differ.
"""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final, Self, final

import msgspec
import trio

from .. import records
from ..lease import Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..records import LeaseRecord
from ..runner_records import Claim
from . import etcd_keys
from .etcd_address import EtcdAddress
from .etcd_api import EtcdLease, Event, put
from .etcd_decisions import answered, check_ttl, decided, stored
from .etcd_errors import EtcdError
from .etcd_expiry import ExpiryEstimates
from .etcd_gateway import EtcdGateway
from .etcd_keys import LeaseKeys, Seen, StoredRecord
from .etcd_nodes import EtcdNodes
from .etcd_runners import EtcdRunners

_REVOKE_SECONDS: Final = 0.5
_REWATCH_PAUSE: Final = 0.1
_NOBODY: Final = Holder("", "")


@final
class EtcdLeaseStore:
    """Leases in an etcd cluster, for the processes of many machines.

    May be entered, `async with EtcdLeaseStore(url) as store`, which closes its connections at the end; they are
    opened by the first call either way.
    """

    def __init__(self, url: str) -> None:
        """Remember where the cluster is; nothing is opened yet.

        `url` is `etcd://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/PREFIX]`, or `etcds://` with TLS, then perhaps
        with `?ca=FILE&cert=FILE&key=FILE`. The port is 2379, and the prefix of all keys `conductor-jobs`, if left
        out. Raises ValueError naming what is wrong with it, which never shows the password.
        """
        self._address = EtcdAddress.parsed(url)
        self._gateway = EtcdGateway(self._address)
        self._prefix = self._address.prefix
        # By the name of a lease: what was last seen of it, where watches go on from; and what was last granted here,
        # whose renewals need not look first.
        self._seen: dict[str, Seen] = {}
        self._held: dict[str, Seen] = {}
        self._expiries = ExpiryEstimates(self._gateway)
        self._nodes = EtcdNodes(self._gateway, self._prefix)
        self._runners = EtcdRunners(self._gateway, self._prefix)

    def __repr__(self) -> str:
        return f"EtcdLeaseStore({str(self._address)!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both keep their leases in one place."""
        return isinstance(other, EtcdLeaseStore) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._place)

    @property
    def _place(self) -> tuple[frozenset[str], str]:
        return frozenset(self._address.members), self._prefix

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._gateway.aclose()

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. Cancelling gives the call up, with its connection; it may still be carried out.

        Raises Unusable for a `ttl` below 2 seconds; fractions of a second are rounded up by etcd. The times of the
        answer that are for display are by this machine's clock, since etcd tells none.
        """
        check_ttl(ttl)
        keys = LeaseKeys(self._prefix, lease_name, holder)
        seen = self._held_by(lease_name, holder)
        if seen is None or seen.record is None or seen.record.term != term:
            seen = await self._look(keys)
        while (changed := decided(lease_name, seen, holder, ttl, term)) is not None:
            confirmed = await self._confirmed(keys, seen, changed)
            if confirmed is not None:
                return answered(confirmed, term, is_leader=True)
            barred, seen = await self._is_barred(keys), await self._look(keys)
            if barred:
                break
        stands = seen.lease_record(await self._expiries.expires_in(lease_name, seen))
        return answered(stands, term, is_leader=False)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling gives the call up, with its connection; it may still be carried out."""
        keys = LeaseKeys(self._prefix, lease_name, holder)
        seen = self._held_by(lease_name, holder) or await self._look(keys)
        while True:
            lease_record = seen.lease_record(1.0)
            held = records.was_held(lease_record, holder, 0.0)
            steps = [put(keys.barred, b"")]
            if seen.record is not None and records.release(lease_record, holder) is not None:
                steps += keys.writing(msgspec.structs.replace(seen.record, released=True), alive_by=0)
            if (await self._gateway.transact(when=keys.unchanged(seen), then=steps)).succeeded:
                await self._revoke(seen.etcd_lease if held else 0)
                return held
            if await self._is_barred(keys):
                return False
            seen = await self._look(keys)

    async def wait_released(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_released`. Cancelling stops the waiting only.

        It watches from the very write on that comes after what was last seen of the lease: nothing is missed.
        Raises EtcdError when the watch breaks off.
        """
        await self._wait(lease_name, lambda record: record.term > term or (record.term == term and record.released))

    async def wait_begun(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_begun`, and `wait_released` here. Cancelling stops the waiting only."""
        await self._wait(lease_name, lambda record: record.term >= term)

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """See `NodeRegistry.heartbeat`. Its times are by this machine's clock, since etcd tells none."""
        await self._nodes.heartbeat(lease_name, node, incarnation, state, fingerprint)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        return await self._nodes.listed(lease_name)

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`."""
        return await self._runners.claims(lease_name)

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`. Cancelling gives the call up, with its connection; it may still be carried out.

        More than 128 claims are kept in several transactions, each of which compares the term. Should it end between
        two of them, StaleTerm is raised, and what the earlier ones have kept stays: it was claimed in time.
        The same holds when the call is cancelled.
        """
        return await self._runners.claim(lease_name, claims)

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`."""
        return await self._runners.paused(lease_name)

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`. Cancelling gives the call up; it may still be carried out."""
        await self._runners.set_paused(lease_name, runner, paused)

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`."""
        return await self._runners.load_cursor(lease_name, runner)

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`. Cancelling gives the call up; it may still be carried out.

        Etcd takes 1.5 MiB in a request, unless it was started with another `--max-request-bytes`.
        """
        await self._runners.save_cursor(lease_name, runner, term, cursor)

    async def _wait(self, lease_name: str, is_over: Callable[[StoredRecord], bool]) -> None:
        keys = LeaseKeys(self._prefix, lease_name, _NOBODY)

        def enough(event: Event) -> bool:
            self._take_note(keys, event)
            return has_come()

        def has_come() -> bool:
            record = self._seen[lease_name].record
            return record is not None and is_over(record)

        seen = self._seen.get(lease_name) or await self._look(keys)
        while not has_come():
            await self._gateway.watch(*keys.range, seen.at + 1, enough)
            if not has_come():  # it was the server that ended the watch
                await trio.sleep(_REWATCH_PAUSE)
                seen = await self._look(keys)

    def _take_note(self, keys: LeaseKeys, event: Event) -> None:
        seen, kv = self._seen[keys.lease_name], event.kv
        if event.type != "PUT" or kv.mod_revision < seen.at:
            return  # known since, by a look or another watch
        if kv.key == keys.record:
            record = etcd_keys.decoded_record(kv)
            self._seen[keys.lease_name] = msgspec.structs.replace(seen, record=record, at=kv.mod_revision)
        elif seen.record is not None:
            self._expiries.heard_of(keys.lease_name, kv.mod_revision, seen.record.granted)

    async def _look(self, keys: LeaseKeys) -> Seen:
        seen = keys.seen(await self._gateway.read(*keys.range))
        self._seen[keys.lease_name] = seen
        return seen

    async def _is_barred(self, keys: LeaseKeys) -> bool:
        # Asked only when a decision was not to be written: whoever is barred stays so.
        return bool((await self._gateway.read(keys.barred)).kvs)

    def _held_by(self, lease_name: str, holder: Holder) -> Seen | None:
        held = self._held.get(lease_name)
        return held if held is not None and held.record is not None and held.record.holder == holder else None

    async def _confirmed(self, keys: LeaseKeys, seen: Seen, changed: LeaseRecord) -> LeaseRecord | None:
        """Write a decision down, and return it as it came about.

        Returns None if somebody was faster, or if a keep-alive counts for nothing: then it is to be made again.
        """
        etcd_lease = await self._etcd_lease(seen, changed)
        record = None if etcd_lease.number == seen.etcd_lease else stored(changed, etcd_lease.seconds)
        written = await self._gateway.transact(
            when=keys.unchanged(seen), then=keys.writing(record, alive_by=etcd_lease.number)
        )
        if not written.succeeded or not etcd_lease.counts_in(written.header.raft_term):
            return None
        revision = written.header.revision
        self._held[keys.lease_name] = seen.after(revision, record, etcd_lease.number)
        self._expiries.heard_of(keys.lease_name, revision, etcd_lease.seconds)
        return msgspec.structs.replace(changed, expires_at=min(changed.ttl, etcd_lease.seconds))

    async def _etcd_lease(self, seen: Seen, changed: LeaseRecord) -> EtcdLease:
        # A new one for every term, and for a renewal that asks for another ttl than before.
        before = seen.lease_record(changed.expires_at)
        if before == changed:
            return await self._gateway.keep_alive(seen.etcd_lease)
        return await self._gateway.grant(math.ceil(changed.ttl))

    async def _revoke(self, etcd_lease: int) -> None:
        # Nothing lives by it any more, and it ends by itself: only tidier.
        if etcd_lease:
            with suppress(EtcdError), trio.move_on_after(_REVOKE_SECONDS):
                await self._gateway.revoke(etcd_lease)
