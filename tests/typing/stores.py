# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Lease stores of third parties: a class with the two methods is one, without inheriting anything."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Literal, assert_type

from conductor_jobs import Conductor, Holder, LeaseGrant, LeaseStore, TimedJobs
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import Node, NodeRegistry, NodeSeen, ReleaseWatcher
from conductor_jobs.runner_records import Claim, ClaimResult, ClaimStore, CursorStore, PauseStore
from conductor_jobs.stores import open_store
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

NodeState = Literal["leader", "standby", "stopped"]


class RemoteStore:
    """Everything that a store may do."""

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        if not ttl:
            raise Unusable("the server refuses our password")
        operation: Literal["acquire", "renew"] = "acquire" if term is None else "renew"
        return LeaseGrant(holder.node_id, 1, True, operation, 0.0, ttl, expires_in=ttl)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        return True

    async def wait_released(self, lease_name: str, term: int) -> None: ...

    async def wait_begun(self, lease_name: str, term: int) -> None: ...

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None: ...

    async def nodes(self, lease_name: str) -> list[NodeSeen]:
        return [NodeSeen(Node(), "incarnation", "leader", 0.0, 0.0, "fingerprint")]

    async def claims(self, lease_name: str) -> list[Claim]:
        return [Claim("runner", datetime(2026, 1, 1, tzinfo=UTC), 1, "completed")]

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> list[Claim]:
        return list(claims)

    async def paused(self, lease_name: str) -> set[str]:
        return {"runner"}

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None: ...

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        return None

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None: ...


class WithoutRelease:
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        return LeaseGrant(None, 0, False, "acquire", 0.0, 0.0, 0.0)


class Blocking:
    def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        return LeaseGrant(None, 0, False, "acquire", 0.0, 0.0, 0.0)

    def release(self, lease_name: str, holder: Holder) -> bool:
        return False


class WithoutTerm:
    async def acquire(self, lease_name: str, holder: Holder, ttl: float) -> LeaseGrant:
        return LeaseGrant(None, 0, False, "acquire", 0.0, 0.0, 0.0)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        return False


class AnswersYesOrNo:
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> bool:
        return True

    async def release(self, lease_name: str, holder: Holder) -> bool:
        return False


jobs = TimedJobs()
Conductor(jobs, store=RemoteStore())
Conductor(jobs, store=WithoutRelease())  # type: ignore[arg-type]  # both methods
Conductor(jobs, store=Blocking())  # type: ignore[arg-type]  # its calls are awaited
Conductor(jobs, store=WithoutTerm())  # type: ignore[arg-type]  # renewing needs the term
Conductor(jobs, store=AnswersYesOrNo())  # type: ignore[arg-type]  # a LeaseGrant

stores: list[LeaseStore] = [RemoteStore(), MemoryLeaseStore(), SQLiteLeaseStore("conductor.db")]
watchers: list[ReleaseWatcher] = [RemoteStore(), MemoryLeaseStore()]
registries: list[NodeRegistry] = [RemoteStore(), MemoryLeaseStore(), SQLiteLeaseStore("conductor.db")]
of_claims: list[ClaimStore] = [RemoteStore(), MemoryLeaseStore()]
of_pauses: list[PauseStore] = [RemoteStore(), MemoryLeaseStore()]
of_cursors: list[CursorStore] = [RemoteStore(), MemoryLeaseStore()]
watcher: ReleaseWatcher = SQLiteLeaseStore("conductor.db")  # type: ignore[assignment]  # SQLite tells nobody
claimer: ClaimStore = WithoutRelease()  # type: ignore[assignment]  # it keeps no claims
by_url: LeaseStore = open_store("https://control.example", token="token")
Claim("runner", datetime.now(UTC), 1, "done")  # type: ignore[arg-type]  # one of ClaimResult
LeaseGrant("node-1", 1, True, "release", 0.0, 0.0, 0.0)  # type: ignore[arg-type]  # acquire or renew


async def asks(store: LeaseStore, registry: NodeRegistry) -> None:
    holder = Holder("node-1", "incarnation")
    grant = await store.acquire("conductor", holder, 30, term=None)
    assert_type(grant, LeaseGrant)
    assert_type(grant.holder_id, str | None)
    assert_type(grant.operation, Literal["acquire", "renew"])
    assert_type(await store.release("conductor", holder), bool)
    assert_type(await registry.nodes("conductor"), Sequence[NodeSeen])
    await store.acquire("conductor", holder, 30, 7)  # type: ignore[call-arg]  # the term has a name
    await store.acquire("conductor", "node-1", 30)  # type: ignore[arg-type]  # a Holder
    grant.term = 2  # type: ignore[misc]  # frozen
    async with MemoryLeaseStore() as memory, SQLiteLeaseStore("conductor.db") as sqlite:
        assert_type(memory, MemoryLeaseStore)
        assert_type(sqlite, SQLiteLeaseStore)
    async with open_store("memory:") as opened:
        assert_type(await opened.release("conductor", holder), bool)


async def keeps(claims: ClaimStore, pauses: PauseStore, cursors: CursorStore, claim: Claim) -> None:
    assert_type(await claims.claims("conductor"), Sequence[Claim])
    assert_type(await claims.claim("conductor", [claim]), Sequence[Claim])
    assert_type(claim.result, ClaimResult | None)
    assert_type(await pauses.paused("conductor"), Collection[str])
    assert_type(await cursors.load_cursor("conductor", "runner"), str | None)
    await pauses.set_paused("conductor", "runner", True)
    await cursors.save_cursor("conductor", "runner", 7, "cursor")
    await cursors.save_cursor("conductor", "runner", 7, b"cursor")  # type: ignore[arg-type]  # a text
    claim.term = 2  # type: ignore[misc]  # frozen
