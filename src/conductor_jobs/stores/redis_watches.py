"""What becomes of a lease, told to all who wait for it in a process by one subscription (I9).

However many wait, the server is asked once when the subscription begins, and then now and then, since a
connection that leads nowhere any more says nothing either. In between, everybody is answered from what was told.
"""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, final

import trio
from trio_util import AsyncValue

from .redis_connections import Connection, Connections, connections
from .redis_scripts import key
from .redis_url import RedisAddress

_SAID: Final = re.compile(rb"(\d{1,19}) (begun|released)")
_LOOK_EVERY: Final = 5.0
_PATIENCE: Final = 5.0
# A standby that is about to wait again finds the subscription still there.
_LINGER: Final = 10.0


class Standing(NamedTuple):
    """The latest term of a lease, 0 for none, and whether it was released. A later standing is the greater one."""

    term: int
    released: bool


@final
class Watches:
    """The subscriptions of one nursery, each for a lease, as long as somebody waits and a little longer."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._watches: dict[str, _Watch] = {}

    async def wait(self, lease_name: str, holds: Callable[[Standing], bool]) -> None:
        """Wait until the lease is told to stand so. Cancelling stops the waiting only.

        Raises what the subscription ended by: ServerRefused, ConnectionError, TooSlowError.
        """
        watch = self._watches.get(lease_name)
        if watch is None:
            watch = self._watches[lease_name] = _Watch(lease_name)
            self._connections.nursery.start_soon(self._run, watch)
        await watch.wait(holds)

    async def _run(self, watch: "_Watch") -> None:
        try:
            async with self._connections.given() as connection:
                await watch.run(connection)
        except Exception as error:  # noqa: BLE001 - it rises where somebody waits, and nowhere else
            watch.fail(error)
        finally:
            del self._watches[watch.lease_name]


class Opened(NamedTuple):
    """What a store holds open to its server."""

    connections: Connections
    watches: Watches


@asynccontextmanager
async def opened(address: RedisAddress) -> AsyncGenerator[Opened]:
    """Open a store's connections and watches, both in one nursery; leaving closes them, errors come out as they are."""
    async with connections(address) as kept:
        yield Opened(kept, Watches(kept))


@final
class _Watch:
    def __init__(self, lease_name: str) -> None:
        self.lease_name = lease_name
        self._told: AsyncValue[Standing | Exception | None] = AsyncValue(None)
        self._waiting = 0
        self._left_at = 0.0

    async def wait(self, holds: Callable[[Standing], bool]) -> None:
        self._waiting += 1
        try:
            told = await self._told.wait_value(
                lambda told: isinstance(told, Exception) or (told is not None and holds(told))
            )
        finally:
            self._waiting -= 1
            self._left_at = trio.current_time()
        if isinstance(told, Exception):
            raise type(told)(*told.args) from told

    async def run(self, connection: Connection) -> None:
        # Subscribed first and looked then, so that nothing falls between.
        connection.subscribe(key(self.lease_name, "changes"))
        while self._waiting or trio.current_time() < self._left_at + _LINGER:
            with trio.fail_after(_PATIENCE):
                self._told.value = await _standing(connection, self.lease_name)
            with trio.move_on_after(_LOOK_EVERY):
                while True:
                    self._hear(await connection.pushed())

    def fail(self, error: Exception) -> None:
        self._told.value = error

    def _hear(self, message: object) -> None:
        heard = _heard(message)
        # What was said before the server was asked may be heard after its answer.
        if heard is not None and isinstance(self._told.value, Standing):
            self._told.value = max(self._told.value, heard)


def _heard(message: object) -> Standing | None:
    match message:
        case [b"message", _, bytes(text)] if said := _SAID.fullmatch(text):
            return Standing(int(said[1]), said[2] == b"released")
    return None


async def _standing(connection: Connection, lease_name: str) -> Standing:
    answer = await connection.ask(b"HMGET", key(lease_name, "lease"), "term", "released")
    assert isinstance(answer, list)
    term, released = answer
    return Standing(int(term or 0), released == b"1")
