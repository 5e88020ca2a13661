"""A lease store in Redis or Valkey: one leader among the processes that reach one server (or its primary).

Every call that decides is one Lua script (`redis_scripts`), by the server's clock. A call has a connection to itself
(`redis_connections`); a release is published, and a standby that waits for it listens on a connection of its own.
"""

import warnings
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, final

import msgspec

from .. import records
from ..errors import Unusable
from ..lease import Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..records import LeaseRecord
from ..runner_records import Claim
from .redis_answers import described, lease_record, node_seen, taken_apart
from .redis_runners import RedisRunners
from .redis_scripts import ACQUIRE, HEARTBEAT, RELEASE, Script, key
from .redis_url import RedisAddress, parse_redis_url

if TYPE_CHECKING:
    from .redis_connections import Connection
    from .redis_watches import Opened, Standing

# In microseconds: more than a century, and small enough for Lua's numbers.
_LONGEST_TTL: Final = 2**52


@final
class RedisLeaseStore:
    """Leases on a Redis server (6 or later) or a Valkey server, for all that reach it.

    With `async with store:` connections are kept between calls. Without it every call makes one of its own, which
    takes three round trips more.
    """

    def __init__(self, url: str, *, require_durable: bool = False) -> None:
        """Remember the server: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS.

        Before the first campaign, and the first one after a connection broke, the server is asked whether it keeps
        what it is told: a RuntimeWarning says what speaks against it. With `require_durable`, or `?require_durable=1`
        in the URL, that is Unusable instead, and `appendfsync always` is demanded too. For TLS the URL takes
        `?ssl_ca_certs=FILE`, `ssl_certfile` and `ssl_keyfile`; certificate and host name are always verified.

        A lease that is not ours, or of a newer conductor-jobs, is not touched: the first call raises Unusable. Raises
        ValueError for a URL that is none, showing no password, and ImportError without coredis.
        """
        self._address: RedisAddress = parse_redis_url(url)
        self._require_durable = require_durable or self._address.require_durable
        self._is_checked = False
        # Here, since it takes a third of a second: not when the module is imported, nor on a loop that others share.
        from .redis_watches import opened

        self._open: Callable[[], AbstractAsyncContextManager[Opened]] = partial(opened, self._address)
        self._manager: AbstractAsyncContextManager[Opened] | None = None
        self._kept: Opened | None = None
        self._runners = RedisRunners(self._address, self._lent)

    def __repr__(self) -> str:
        return f"RedisLeaseStore({str(self._address)!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both keep their leases in one database of one server, by the name that the URLs give it."""
        return isinstance(other, RedisLeaseStore) and self._address == other._address

    def __hash__(self) -> int:
        return hash((self._address.host, self._address.port, self._address.database))

    async def __aenter__(self) -> Self:
        if self._manager is not None:
            raise RuntimeError(f"{self!r} is open already: enter it once, and share it.")
        self._manager = self._open()
        self._kept = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None
        manager, self._manager, self._kept = self._manager, None, None
        return await manager.__aexit__(kind, error, traceback)

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. Cancelling gives the call up at once; it may still be carried out."""
        ttl_us = max(1, round(min(ttl * 1e6, _LONGEST_TTL)))
        async with self._lent() as connection:
            if term is None:
                await self._check(connection)
            granted, now, record = await self._decide(
                connection, ACQUIRE, lease_name, holder, str(ttl_us), "" if term is None else str(term)
            )
        return records.answer(
            record, is_leader=granted, operation="acquire" if term is None else "renew", now=0.0, unix_now=now
        )

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling gives the call up at once; it may still be carried out."""
        async with self._lent() as connection:
            freed, _, _ = await self._decide(connection, RELEASE, lease_name, holder)
        return freed

    async def wait_released(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_released`. Cancelling stops the waiting only."""
        await self._wait(lease_name, lambda standing: standing.released or standing.term > term)

    async def wait_begun(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_begun`. Cancelling stops the waiting only."""
        await self._wait(lease_name, lambda standing: standing.term >= term)

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """See `NodeRegistry.heartbeat`. Cancelling gives the call up at once; it may still be carried out."""
        facts = [node.node_id, incarnation, described(node, incarnation, state, fingerprint)]
        async with self._lent() as connection:
            await connection.run(HEARTBEAT, [key(lease_name, "nodes")], facts)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        async with self._lent() as connection:
            answer = await connection.ask(b"HGETALL", key(lease_name, "nodes"))
        assert isinstance(answer, dict)
        try:
            return sorted((node_seen(node_id, kept) for node_id, kept in answer.items()), key=_node_id)
        except ValueError as error:
            raise Unusable(f"{self._address} has a node of {lease_name!r} that is not ours: {error}.") from error

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`."""
        return await self._runners.claims(lease_name)

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`. Cancelling gives the call up at once; it may still be carried out, as a whole."""
        return await self._runners.claim(lease_name, claims)

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`."""
        return await self._runners.paused(lease_name)

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`. Cancelling gives the call up at once; it may still be carried out."""
        await self._runners.set_paused(lease_name, runner, paused)

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`."""
        return await self._runners.load_cursor(lease_name, runner)

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`. Cancelling gives the call up at once; it may still be carried out."""
        await self._runners.save_cursor(lease_name, runner, term, cursor)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator["Opened"]:
        if self._kept is not None and self._kept.connections.are_of_this_run:
            yield self._kept
        else:
            async with self._open() as for_one_call:
                yield for_one_call

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator["Connection"]:
        try:
            async with self._opened() as opened, opened.connections.lent() as connection:
                yield connection
        except ConnectionError:
            # The next one to answer may be a server that was started anew, or another one in its place.
            self._is_checked = False
            raise

    async def _wait(self, lease_name: str, holds: "Callable[[Standing], bool]") -> None:
        async with self._opened() as opened:
            await opened.watches.wait(lease_name, holds)

    async def _check(self, connection: "Connection") -> None:
        if self._is_checked:
            return
        from .redis_durability import durability

        found = await durability(connection)
        if self._require_durable and (problems := found.losses + found.crash_losses):
            raise Unusable(f"{self._address} is not durable, as was required: {'; '.join(problems)}.")
        self._is_checked = True
        if found.losses:
            warnings.warn(f"{self._address} may forget leases: {'; '.join(found.losses)}.", RuntimeWarning, 2)

    async def _decide(
        self, connection: "Connection", script: Script, lease_name: str, holder: Holder, *arguments: str
    ) -> tuple[bool, float, LeaseRecord | None]:
        keys = [key(lease_name, "lease"), key(lease_name, "barred")]
        barred_as = msgspec.json.encode((holder.node_id, holder.incarnation)).decode()
        who = (holder.node_id, holder.incarnation, barred_as, key(lease_name, "changes"))
        reply = await connection.run(script, keys, [*who, *arguments])
        try:
            verdict, (now, *kept) = taken_apart(reply)
            return verdict == b"granted", int(now) / 1e6, lease_record(int(now), *kept)
        except ValueError as error:
            raise Unusable(f"{self._address} has a lease {lease_name!r} that cannot be used: {error}.") from error


def _node_id(seen: NodeSeen) -> str:
    return seen.node.node_id
