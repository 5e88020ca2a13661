"""Listening, and one server's life: it serves until told to stop, answers those who wait, and ends.

    connections        one task each, under hypercorn's protocol for HTTP/1.1
      listeners        accept while there are places, until the stop
    watches            of the store, for those who wait; ended last

hypercorn's own `serve` would do, but for a limit to the number of connections.
"""

import ipaddress
import resource
from collections.abc import Sequence
from typing import Any, Final, cast, final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from ..failures import error_text, sole_exception, split_failure
from ..lease import LeaseStore
from ..stderr import tell
from .app import ControlAPI
from .connections import IDLE_TIMEOUT, Connection, LimitedListener

#: Seconds that requests in flight have when the server stops.
GRACE: Final = 5.0
MOST_CONNECTIONS: Final = 512
_LONGEST_HEADER: Final = 16 * 2**10
_BACKLOG: Final = 128
# Whoever has gone waits for nothing; this is for the tasks to notice.
_WIND_UP: Final = 1.0


class NotSafe(ValueError):
    """What was asked for would let everybody in."""


async def open_listeners(host: str, port: int, *, with_token: bool) -> list[trio.SocketListener]:
    """Listen; port 0 takes a free one. Raises OSError, and NotSafe for more than loopback without a token."""
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    exposed = [address for listener in listeners if not _is_loopback(address := listener.socket.getsockname()[0])]
    if exposed and not with_token:
        for listener in listeners:
            await listener.aclose()
        raise NotSafe(
            f"{exposed[0]} can be reached by others: give a token (BAA_SHARED_TOKEN), or listen on 127.0.0.1."
        )
    return listeners


def urls_of(listeners: Sequence[trio.SocketListener]) -> list[str]:
    """Return the URLs that are listened on."""
    addresses = [listener.socket.getsockname()[:2] for listener in listeners]
    return [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in addresses]


@final
class ControlServer:
    """One server over one store. `run` it once; `request_stop` ends it."""

    def __init__(self, store: LeaseStore, token: str | None, *, most_connections: int | None = None) -> None:
        """`most_connections`: who comes besides waits for a place; by default what the limit of open files allows."""
        self._store = store
        self._token = token
        self._places = trio.Semaphore(_affordable_connections() if most_connections is None else most_connections)
        self._connections: set[Connection] = set()
        self._told: set[str] = set()
        self._stop = trio.Event()
        self._config = _config()

    def request_stop(self) -> None:
        """End, once the requests in flight are answered."""
        self._stop.set()

    async def run(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serve until told to stop; what is then in flight has GRACE seconds. Cancelling ends everything at once."""
        async with trio.open_nursery() as watches:
            api = ControlAPI(self._store, self._token, watches)
            await self._serve(api, listeners)
            watches.cancel_scope.cancel()

    async def _serve(self, api: ControlAPI, listeners: Sequence[trio.SocketListener]) -> None:
        async def accept(connections: trio.Nursery) -> None:
            doors = [LimitedListener(each, self._places) for each in listeners]
            await trio.serve_listeners(converse, doors, handler_nursery=connections)

        async def converse(connection: Connection) -> None:
            await self._converse(api, connection)

        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(accept, connections)
                await self._stop.wait()
                accepting.cancel_scope.cancel()
            api.stop()
            for connection in list(self._connections):
                await connection.wind_up()
            connections.cancel_scope.deadline = trio.current_time() + GRACE

    async def _converse(self, api: ControlAPI, connection: Connection) -> None:
        # A context for each, so that one whose client has gone can be told to end by itself.
        context = WorkerContext(None)

        async def wind_up() -> None:
            await context.terminated.set()
            # Not every end is noticed by hypercorn: after an upgrade to HTTP/2 it would wait for ever.
            patience = GRACE if self._stop.is_set() else _WIND_UP
            life.deadline = min(life.deadline, trio.current_time() + patience)

        connection.wind_up = wind_up
        self._connections.add(connection)
        try:
            with trio.CancelScope() as life:
                await self._serve_connection(api, context, connection)
        finally:
            self._connections.remove(connection)

    async def _serve_connection(self, api: ControlAPI, context: WorkerContext, connection: Connection) -> None:
        # hypercorn is typed for one kind of stream and of application; it asks no more of them than ours have.
        app, stream = ASGIWrapper(cast("Any", api)), cast("Any", connection)
        state = cast("Any", ConnectionState({"connection": connection}))
        try:
            await TCPServer(app, self._config, context, state, stream)
        except BaseException as error:  # noqa: BLE001 - parted below
            problem, rest = split_failure(error)
            if problem is not None:
                self._tell_of(problem)
            if rest is not None:
                raise rest from None

    def _tell_of(self, problem: Exception) -> None:
        # One connection's trouble is not the server's; and who makes trouble is not to fill a disk with it.
        kind = type(sole_exception(problem)).__name__
        if kind not in self._told:
            self._told.add(kind)
            tell(f"conductor-jobs: control API: a connection failed, told once: {kind}: {error_text(problem)}")


def _affordable_connections() -> int:
    # The store needs files too: without any left no lease could be renewed.
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MOST_CONNECTIONS, soft // 2))


def _config() -> Config:
    config = Config()
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = _LONGEST_HEADER
    config.keep_alive_timeout = IDLE_TIMEOUT
    return config


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
