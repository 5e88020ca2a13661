"""`FaultyLeaseStore`: any lease store, behind a network and beside a clock that a test makes as bad as it likes."""

import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, Never, Self, TypeVar, final

import msgspec
import trio

from ..lease import Holder, LeaseGrant, LeaseStore, Node, NodeSeen, NodeState, is_lease_store
from ..runner_records import Claim

T = TypeVar("T")
StoreCall = Literal[
    "campaign",
    "renew",
    "release",
    "heartbeat",
    "nodes",
    "wait_released",
    "wait_begun",
    "claims",
    "claim",
    "paused",
    "set_paused",
    "load_cursor",
    "save_cursor",
]
_WATCHING = frozenset({"wait_released", "wait_begun"})
_OF_RUNNERS = frozenset({"claims", "claim", "paused", "set_paused", "load_cursor", "save_cursor"})
_OPTIONAL = frozenset({"heartbeat", "nodes"}) | _OF_RUNNERS | _WATCHING


@final
@dataclass(frozen=True, slots=True)
class StoreFault:
    """What befalls one call of a store; times in seconds, `math.inf` for ever.

    `delay_before`: until the store carries the call out; a caller that gives up earlier has changed nothing.
    `error`: raised then, instead of carrying it out. `delay_after`: from there until the answer; a caller that gives up
    in it does not know that the call was carried out. `broken`: raised then, instead of the answer.
    `late`: so long after it was sent the call is carried out, though its caller gave up long ago: no answer ever comes.
    """

    delay_before: float = 0.0
    error: Exception | None = None
    delay_after: float = 0.0
    broken: Exception | None = None
    late: float | None = None


HANG = StoreFault(delay_before=math.inf)
LOST_ANSWER = StoreFault(delay_after=math.inf)
_NO_FAULT = StoreFault()


@final
class FaultyLeaseStore:
    """One node's way to a store: `FaultyLeaseStore(store)` for each node, around one store for all of them.

    It can do what the store can do. `calls` lists what was asked: when, by Trio's clock, and what. Late writes are
    carried out in a nursery of its own: for them it has to be entered, `async with FaultyLeaseStore(store) as faulty`.
    """

    def __init__(self, store: LeaseStore, *, clock_rate: float = 1.0, watching: bool = True) -> None:
        """Pass everything on, until told otherwise.

        `clock_rate`: how many seconds the store's clock counts in one of ours: above 1 it runs fast, and a lease
        expires early. Without `watching` it tells nobody of releases, though its store can. Raises TypeError for what
        is no lease store, ValueError for a rate that is not above 0.
        """
        if not is_lease_store(store):
            raise TypeError(f"FaultyLeaseStore store must have acquire and release, not {store!r}.")
        if not 0 < clock_rate < math.inf:
            raise ValueError(f"FaultyLeaseStore clock_rate must be a number above 0, not {clock_rate!r}.")
        #: What befalls each call from now on, one that is under way included; None: nothing.
        self.fault: StoreFault | Callable[[StoreCall], StoreFault | None] | None = None
        self.calls: list[tuple[float, StoreCall]] = []
        self._store: Any = store
        self._clock_rate = clock_rate
        self._offers = _OPTIONAL if watching else _OPTIONAL - _WATCHING
        self._cut_off = False
        self._reset = trio.Event()
        self._late_writes: trio.Nursery | None = None
        self._entered = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the nursery of the late writes."""
        self._late_writes = await self._entered.enter_async_context(trio.open_nursery())
        return self

    async def __aexit__(self, *exception: Any) -> None:
        """Drop the writes that have not arrived yet."""
        if self._late_writes is not None:
            self._late_writes.cancel_scope.cancel()
        self._late_writes = None
        await self._entered.__aexit__(*exception)

    def __getattr__(self, name: str) -> Any:
        """Offer what only some stores can do if this one's can."""
        if name in self._offers and hasattr(self._store, name):
            return getattr(self, f"_{name}")
        raise AttributeError(f"{type(self._store).__name__} has no {name}")

    def partition(self) -> None:
        """Cut this node off: from now on neither a call nor an answer gets through, until `heal`."""
        self._cut_off = True

    def heal(self) -> None:
        """End the partition and every fault; what hangs is reset."""
        self._cut_off = False
        self.fault = None
        self.reset()

    def reset(self) -> None:
        """Break the connections: each call that waits for ever raises ConnectionResetError."""
        self._reset.set()
        self._reset = trio.Event()

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`."""

        async def ask() -> LeaseGrant:
            grant: LeaseGrant = await self._store.acquire(lease_name, holder, ttl / self._clock_rate, term=term)
            return msgspec.structs.replace(grant, expires_in=grant.expires_in * self._clock_rate)

        return await self._call("campaign" if term is None else "renew", ask)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`."""
        return await self._call("release", lambda: self._store.release(lease_name, holder))

    async def _wait_released(self, lease_name: str, term: int) -> None:
        await self._call("wait_released", lambda: self._store.wait_released(lease_name, term))

    async def _wait_begun(self, lease_name: str, term: int) -> None:
        await self._call("wait_begun", lambda: self._store.wait_begun(lease_name, term))

    async def _heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        await self._call("heartbeat", lambda: self._store.heartbeat(lease_name, node, incarnation, state, fingerprint))

    async def _nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        return await self._call("nodes", lambda: self._store.nodes(lease_name))

    async def _claims(self, lease_name: str) -> Sequence[Claim]:
        return await self._call("claims", lambda: self._store.claims(lease_name))

    async def _claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        return await self._call("claim", lambda: self._store.claim(lease_name, claims))

    async def _paused(self, lease_name: str) -> Collection[str]:
        return await self._call("paused", lambda: self._store.paused(lease_name))

    async def _set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        await self._call("set_paused", lambda: self._store.set_paused(lease_name, runner, paused))

    async def _load_cursor(self, lease_name: str, runner: str) -> str | None:
        return await self._call("load_cursor", lambda: self._store.load_cursor(lease_name, runner))

    async def _save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        await self._call("save_cursor", lambda: self._store.save_cursor(lease_name, runner, term, cursor))

    async def _call(self, call: StoreCall, carry_out: Callable[[], Awaitable[T]]) -> T:
        self.calls.append((trio.current_time(), call))
        fault = self._fault_of(call)
        if fault.late is not None:
            self._send_late(fault.late, carry_out)
            await self._hang()
        await self._delay(fault.delay_before)
        if fault.error is not None:
            raise fault.error
        answer = await carry_out()
        await self._delay(fault.delay_after)
        if fault.broken is not None:
            raise fault.broken
        return answer

    def _fault_of(self, call: StoreCall) -> StoreFault:
        return (self.fault(call) if callable(self.fault) else self.fault) or _NO_FAULT

    async def _delay(self, seconds: float) -> None:
        if seconds == math.inf:
            await self._hang()
        elif seconds > 0:
            await trio.sleep(seconds)
        if self._cut_off:
            await self._hang()

    async def _hang(self) -> Never:
        await self._reset.wait()
        raise ConnectionResetError("the connection to the store was reset")

    def _send_late(self, seconds: float, carry_out: Callable[[], Awaitable[object]]) -> None:
        if self._late_writes is None:
            raise RuntimeError("a late write needs a nursery: enter the store, `async with FaultyLeaseStore(store)`")

        async def arrive() -> None:
            try:
                await self._delay(seconds)
                await carry_out()
            except Exception:  # noqa: BLE001, S110 - nobody is left who could be told
                pass

        self._late_writes.start_soon(arrive)
