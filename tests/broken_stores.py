"""Lease stores that are broken in one way each, by which `exercise_lease_store` is tested.

Each is a memory store, or its rules, as somebody might write them who did not know better. `BROKEN` says of each which
rule has to catch it; what is broken in the keeping of claims, pauses and cursors is in `broken_keepers`.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import trio

from conductor_jobs import Holder, LeaseGrant, Node, records
from conductor_jobs.lease import NodeSeen, NodeState, Operation
from conductor_jobs.records import LeaseRecord
from conductor_jobs.runner_records import Claim
from conductor_jobs.stores import memory
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import conformance_leases as leases
from conductor_jobs.testing import conformance_nodes as nodes
from conductor_jobs.testing import conformance_races as races
from conductor_jobs.testing import conformance_times as times
from conductor_jobs.testing import conformance_watches as watches
from conductor_jobs.testing.conformance_clients import Rule

Record = LeaseRecord | None


class Client:
    """A client of a memory store that passes everything on, until something below is overridden."""

    def __init__(self, store: Any) -> None:
        self.store = store

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        return await self.store.acquire(lease_name, holder, ttl, term=term)

    async def release(self, lease_name: str, holder: Holder) -> Any:
        return await self.store.release(lease_name, holder)

    async def wait_released(self, lease_name: str, term: int) -> None:
        await self.store.wait_released(lease_name, term)

    async def wait_begun(self, lease_name: str, term: int) -> None:
        await self.store.wait_begun(lease_name, term)

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        await self.store.heartbeat(lease_name, node, incarnation, state, fingerprint)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        answer: Sequence[NodeSeen] = await self.store.nodes(lease_name)
        return answer

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        answer: Sequence[Claim] = await self.store.claims(lease_name)
        return answer

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        answer: Sequence[Claim] = await self.store.claim(lease_name, claims)
        return answer

    async def paused(self, lease_name: str) -> Collection[str]:
        answer: Collection[str] = await self.store.paused(lease_name)
        return answer

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        await self.store.set_paused(lease_name, runner, paused)

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        answer: str | None = await self.store.load_cursor(lease_name, runner)
        return answer

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        await self.store.save_cursor(lease_name, runner, term, cursor)


class OfADict(Client):
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        return msgspec.to_builtins(await super().acquire(lease_name, holder, ttl, term=term))


class WithoutAWordToTheRefused(Client):
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        grant: LeaseGrant = await super().acquire(lease_name, holder, ttl, term=term)
        return grant if grant.is_leader else msgspec.structs.replace(grant, holder_id=None, term=0)


class ThatReleasesWhenItCloses(Client):
    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.taken: list[tuple[str, Holder]] = []

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        self.taken.append((lease_name, holder))
        return await super().acquire(lease_name, holder, ttl, term=term)

    async def __aexit__(self, *exception: object) -> None:
        for lease_name, holder in self.taken:
            await self.store.release(lease_name, holder)


class ThatLooksBeforeItLeaps(Client):
    """A read and a write that are two transactions."""

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        cell, barred = self.store._cell(lease_name), (lease_name, holder) in self.store._barred
        seen = cell.value
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        changed = records.acquire(seen, holder, ttl, term, now, barred=barred)
        cell.value = changed or cell.value
        operation: Operation = "acquire" if term is None else "renew"
        leads = changed is not None
        return records.answer(cell.value, is_leader=leads, operation=operation, now=now, unix_now=now)


class ThatExpiresEarly(Client):
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        grant: LeaseGrant = await super().acquire(lease_name, holder, ttl / 2, term=term)
        return msgspec.structs.replace(grant, expires_in=2 * grant.expires_in)


class WithShortNames(Client):
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        return await super().acquire(lease_name[:200], holder, ttl, term=term)

    async def release(self, lease_name: str, holder: Holder) -> Any:
        return await super().release(lease_name[:200], holder)


class WithoutCapitals(Client):
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        return await super().acquire(lease_name.lower(), holder, ttl, term=term)

    async def release(self, lease_name: str, holder: Holder) -> Any:
        return await super().release(lease_name.lower(), holder)


class WithKeysThatRunTogether(Client):
    """Remembers who is barred under `lease:node:incarnation`."""

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        if f"{lease_name}:{holder.node_id}:{holder.incarnation}" in self._keys:
            self.store._barred.add((lease_name, holder))
        return await super().acquire(lease_name, holder, ttl, term=term)

    async def release(self, lease_name: str, holder: Holder) -> Any:
        self._keys.add(f"{lease_name}:{holder.node_id}:{holder.incarnation}")
        return await super().release(lease_name, holder)

    @property
    def _keys(self) -> set[str]:
        keys: set[str] = vars(self.store).setdefault("keys", set())
        return keys


class ThatRunsOutOfConnections(Client):
    """A call that is cancelled never gives its connection back."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.connections = trio.Semaphore(5)

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        await self.connections.acquire()
        await trio.sleep(0.005)
        grant = await super().acquire(lease_name, holder, ttl, term=term)
        self.connections.release()
        return grant


class ThatCannotBeCancelled(Client):
    async def release(self, lease_name: str, holder: Holder) -> Any:
        try:
            return await super().release(lease_name, holder)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            raise


class ThatHangs(Client):
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        await trio.sleep_forever()


class ThatIsAway(Client):
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        raise ConnectionRefusedError("nobody listens")


class ThatForgetsPastReleases(Client):
    async def wait_released(self, lease_name: str, term: int) -> None:
        record = self.store._cell(lease_name).value
        if record is not None and record.released:
            await trio.sleep_forever()
        await super().wait_released(lease_name, term)


class ThatWakesOnlyOne(Client):
    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.one = trio.Lock()

    async def wait_released(self, lease_name: str, term: int) -> None:
        async with self.one:
            await super().wait_released(lease_name, term)
            await trio.sleep(10)


class ThatSubscribesLate(Client):
    """Between its look and its subscription a release is missed."""

    async def wait_released(self, lease_name: str, term: int) -> None:
        record = self.store._cell(lease_name).value
        if record is not None and record.released:
            return
        await trio.sleep(0.002)
        await self.store._cell(lease_name).wait_transition(lambda now, _: now is not None and now.released)


class ThatWakesAtAnyChange(Client):
    async def wait_released(self, lease_name: str, term: int) -> None:
        record = self.store._cell(lease_name).value
        await self.store._cell(lease_name).wait_value(lambda now: now != record or (now is not None and now.released))


class ThatTellsOnlyOfWhatIsToCome(Client):
    async def wait_begun(self, lease_name: str, term: int) -> None:
        await self.store._cell(lease_name).wait_transition(lambda now, _: now is not None and now.term >= term)


class ThatTakesAReleaseForABeginning(Client):
    async def wait_begun(self, lease_name: str, term: int) -> None:
        await self.store.wait_released(lease_name, term - 1)


class ThatForgetsVersions(Client):
    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        without = Node(node.node_id, node.host, node.role, node.priority)
        await super().heartbeat(lease_name, without, incarnation, state, fingerprint)


class ThatForgetsFingerprints(Client):
    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        await super().heartbeat(lease_name, node, incarnation, state, "")


class ThatKeepsTheFirstFingerprint(Client):
    """Takes it for what an incarnation cannot change."""

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        before = {(seen.node.node_id, seen.incarnation): seen.fingerprint for seen in await self.nodes(lease_name)}
        first = before.get((node.node_id, incarnation), fingerprint)
        await super().heartbeat(lease_name, node, incarnation, state, first)


class ThatKeepsTheFirstHeartbeat(Client):
    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        if node.node_id not in [seen.node.node_id for seen in await self.nodes(lease_name)]:
            await super().heartbeat(lease_name, node, incarnation, state, fingerprint)


class ThatKnowsOnlyTheLastHeartbeat(Client):
    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        seen = await super().nodes(lease_name)
        return [msgspec.structs.replace(each, first_seen_at=each.last_seen_at) for each in seen]


class ThatTakesAllLivesForOne(Client):
    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        before = {seen.node.node_id: seen for seen in await self.nodes(lease_name)}.get(node.node_id)
        await super().heartbeat(lease_name, node, incarnation, state, fingerprint)
        if before is not None:
            key = lease_name, node.node_id
            seen = self.store._nodes[key]
            self.store._nodes[key] = msgspec.structs.replace(seen, first_seen_at=before.first_seen_at)


class ThatSeesANodeFirstAfterItSawItLast(Client):
    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        seen = await super().nodes(lease_name)
        return [msgspec.structs.replace(each, first_seen_at=each.last_seen_at + 1) for each in seen]


class WithNodesInTheOrderOfADictionary(Client):
    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        return sorted(await super().nodes(lease_name), key=lambda seen: seen.node.node_id.casefold())


class WhoseHeartbeatsRenew(Client):
    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        await super().heartbeat(lease_name, node, incarnation, state, fingerprint)
        cell = self.store._cell(lease_name)
        if state == "leader" and cell.value is not None:
            cell.value = msgspec.structs.replace(cell.value, holder=Holder(node.node_id, incarnation))


def a_campaign_that_takes_what_is_held(record: Record, holder: Holder, ttl: float, now: float) -> Record:
    return LeaseRecord(holder, 1 if record is None else record.term + 1, ttl, now + ttl)


def a_campaign_that_keeps_its_number(record: Record, holder: Holder, ttl: float, now: float) -> Record:
    if record is not None and record.held_at(now) and record.holder == holder:
        return msgspec.structs.replace(record, expires_at=now + ttl)
    return _campaign(record, holder, ttl, now)


def a_campaign_that_knows_nodes_alone(record: Record, holder: Holder, ttl: float, now: float) -> Record:
    if record is not None and record.held_at(now) and record.holder.node_id == holder.node_id:
        return LeaseRecord(holder, record.term + 1, ttl, now + ttl)
    return _campaign(record, holder, ttl, now)


def a_campaign_that_counts_by_two(record: Record, holder: Holder, ttl: float, now: float) -> Record:
    after = _campaign(record, holder, ttl, now)
    return after if record is None or after is None else msgspec.structs.replace(after, term=record.term + 2)


def a_campaign_for_ever(record: Record, holder: Holder, ttl: float, now: float) -> Record:
    return _campaign(record, holder, 1e9, now)


def a_renewal_of_any_term(record: Record, holder: Holder, term: int, ttl: float, now: float) -> Record:
    return _renew(record, holder, term if record is None else record.term, ttl, now)


def a_renewal_of_any_incarnation(record: Record, holder: Holder, term: int, ttl: float, now: float) -> Record:
    if record is None or record.holder.node_id != holder.node_id:
        return None
    return _renew(record, record.holder, term, ttl, now)


def a_renewal_after_the_expiry(record: Record, holder: Holder, term: int, ttl: float, now: float) -> Record:
    if record is None or record.released or record.holder != holder or record.term != term:
        return None
    return msgspec.structs.replace(record, ttl=ttl, expires_at=now + ttl)


def a_renewal_that_is_only_said(record: Record, holder: Holder, term: int, ttl: float, now: float) -> Record:
    return record if _renew(record, holder, term, ttl, now) is not None else None


def a_renewal_that_takes_what_is_free(record: Record, holder: Holder, term: int, ttl: float, now: float) -> Record:
    return LeaseRecord(holder, term, ttl, now + ttl) if record is None else _renew(record, holder, term, ttl, now)


def a_release_by_anyone(record: Record, holder: Holder) -> Record:
    return None if record is None else msgspec.structs.replace(record, released=True)


def a_release_by_the_node(record: Record, holder: Holder) -> Record:
    if record is None or record.holder.node_id != holder.node_id:
        return None
    return msgspec.structs.replace(record, released=True)


def a_release_that_forgets_the_term(record: Record, holder: Holder) -> Record:
    after = _release(record, holder)
    return None if after is None else msgspec.structs.replace(after, term=0)


def a_release_that_frees_nothing(record: Record, holder: Holder) -> Record:
    return None


def nobody_is_barred(
    record: Record, holder: Holder, ttl: float, term: int | None, now: float, *, barred: bool
) -> Record:
    return _acquire(record, holder, ttl, term, now, barred=False)


def late_is_held_too(record: Record, holder: Holder, now: float) -> bool:
    return record is not None and record.holder == holder and not record.released


_acquire, _campaign, _renew, _release = records.acquire, records.campaign, records.renew, records.release

Broken = tuple[Rule, type[Client] | tuple[str, Callable[..., Any]]]
BROKEN: tuple[Broken, ...] = (
    (leases.a_campaign_takes_a_free_lease, OfADict),
    (leases.a_campaign_takes_a_free_lease, ThatHangs),
    (leases.a_campaign_takes_a_free_lease, ThatIsAway),
    (leases.others_are_refused_and_told, WithoutAWordToTheRefused),
    (leases.others_are_refused_and_told, ("campaign", a_campaign_that_takes_what_is_held)),
    (leases.others_are_refused_and_told, ("campaign", a_campaign_that_knows_nodes_alone)),
    (leases.a_renewal_of_anything_else_is_refused, ("renew", a_renewal_of_any_term)),
    (leases.a_renewal_of_anything_else_is_refused, ("renew", a_renewal_of_any_incarnation)),
    (leases.a_renewal_of_anything_else_is_refused, ("renew", a_renewal_that_takes_what_is_free)),
    (leases.a_campaign_over_ones_own_lease_is_a_new_term, ("campaign", a_campaign_that_keeps_its_number)),
    (leases.a_release_frees_and_keeps_the_term, ("release", a_release_that_forgets_the_term)),
    (leases.a_release_frees_and_keeps_the_term, ("release", a_release_that_frees_nothing)),
    (leases.a_release_frees_and_keeps_the_term, ("campaign", a_campaign_that_counts_by_two)),
    (leases.a_release_is_for_the_holder_alone, ("release", a_release_by_anyone)),
    (leases.a_release_is_for_the_holder_alone, ("release", a_release_by_the_node)),
    (leases.a_released_incarnation_is_barred, ("acquire", nobody_is_barred)),
    (leases.leases_know_nothing_of_each_other, WithKeysThatRunTogether),
    (leases.any_text_is_a_name, WithShortNames),
    (leases.any_text_is_a_name, WithoutCapitals),
    (times.an_expired_lease_is_not_renewed, ("renew", a_renewal_after_the_expiry)),
    (times.a_lease_lasts_as_long_as_was_told, ThatExpiresEarly),
    (times.an_expired_lease_is_not_renewed, ("campaign", a_campaign_for_ever)),
    (times.a_renewal_moves_the_expiry, ("renew", a_renewal_that_is_only_said)),
    (times.what_is_late_changes_nothing, ("release", a_release_by_anyone)),
    (times.what_is_late_changes_nothing, ("was_held", late_is_held_too)),
    (races.one_of_many_campaigns_wins, ThatLooksBeforeItLeaps),
    (races.terms_rise_in_every_order_of_calls, ("campaign", a_campaign_that_counts_by_two)),
    (races.a_call_that_is_given_up_does_no_harm, ThatRunsOutOfConnections),
    (races.a_call_that_is_given_up_does_no_harm, ThatCannotBeCancelled),
    (races.closing_a_client_changes_nothing, ThatReleasesWhenItCloses),
    (watches.a_release_that_is_past_is_told_at_once, ThatForgetsPastReleases),
    (watches.a_release_wakes_whoever_waits, ThatWakesOnlyOne),
    (watches.nothing_else_wakes_them, ThatWakesAtAnyChange),
    (watches.no_release_is_missed, ThatSubscribesLate),
    (watches.a_term_that_has_begun_is_told_at_once, ThatTellsOnlyOfWhatIsToCome),
    (watches.the_next_term_wakes_whoever_waits, ThatTakesAReleaseForABeginning),
    (nodes.a_node_is_remembered_as_it_described_itself, ThatForgetsVersions),
    (nodes.a_node_is_remembered_as_it_described_itself, ThatForgetsFingerprints),
    (nodes.a_later_heartbeat_takes_the_place_of_the_last, ThatKeepsTheFirstHeartbeat),
    (nodes.a_later_heartbeat_takes_the_place_of_the_last, ThatKeepsTheFirstFingerprint),
    (nodes.a_node_is_known_since_the_first_heartbeat_of_its_incarnation, ThatKnowsOnlyTheLastHeartbeat),
    (nodes.a_node_is_known_since_the_first_heartbeat_of_its_incarnation, ThatTakesAllLivesForOne),
    (nodes.a_node_is_known_since_the_first_heartbeat_of_its_incarnation, ThatSeesANodeFirstAfterItSawItLast),
    (nodes.nodes_are_ordered_by_their_ids, WithNodesInTheOrderOfADictionary),
    (nodes.heartbeats_leave_leases_alone, WhoseHeartbeatsRenew),
)


def name_of(broken: Broken) -> str:
    """Return what is broken, and what has to notice, for a test's name."""
    rule, how = broken
    return f"{how[1].__name__ if isinstance(how, tuple) else how.__name__} by {rule.__name__}"


@contextmanager
def broken_store(broken: Broken) -> Generator[Callable[[], Any], None, None]:
    """Give an `open_store` of a store that is broken in this way."""
    store, how = MemoryLeaseStore(), broken[1]
    if isinstance(how, tuple):
        # The store has its own name for the one rule that is no lease's.
        with patch.object(memory if how[0] == "supersedes" else records, *how):
            yield lambda: store
    else:
        yield lambda: how(store)
