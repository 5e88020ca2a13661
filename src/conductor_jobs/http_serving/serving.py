"""Listening, and one server's life: it serves until told to stop, answers those who wait, and ends.

    connections        one task each, under hypercorn's protocol for HTTP/1.1
      listeners        accept while there are places, until the stop

hypercorn's own `serve` would do, but for a limit to the number of connections.
"""

import resource
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast, final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from ..failures import error_text, sole_exception, split_failure
from ..stderr import tell
from .address import is_loopback
from .connections import IDLE_TIMEOUT, Connection, LimitedListener

MOST_CONNECTIONS: Final = 512
_LONGEST_HEADER: Final = 16 * 2**10
_BACKLOG: Final = 128
# Whoever has gone waits for nothing; this is for the tasks to notice.
_WIND_UP: Final = 1.0

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class NotSafe(ValueError):
    """What was asked for would let everybody in."""


async def open_listeners(host: str, port: int, *, with_token: bool, token_setting: str) -> list[trio.SocketListener]:
    """Listen; port 0 takes a free one. Raises OSError, and NotSafe for more than loopback without a token."""
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    if not with_token and (exposed := exposed_addresses(listeners)):
        for listener in listeners:
            await listener.aclose()
        raise NotSafe(f"{exposed[0]} can be reached by others: give a token ({token_setting}), or listen on 127.0.0.1.")
    return listeners


def exposed_addresses(listeners: Sequence[trio.SocketListener]) -> list[str]:
    """Return the addresses listened on that others than this machine may reach."""
    addresses: list[str] = [listener.socket.getsockname()[0] for listener in listeners]
    return [address for address in addresses if not is_loopback(address)]


def urls_of(listeners: Sequence[trio.SocketListener]) -> list[str]:
    """Return the URLs that are listened on."""
    addresses = [listener.socket.getsockname()[:2] for listener in listeners]
    return [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in addresses]


@final
class HTTPServer:
    """Serves one application. `run` it once; `request_stop` ends it."""

    def __init__(self, name: str, *, grace: float, most_connections: int | None = None) -> None:
        """Describe a server; nothing is listened on.

        `name`: what messages call it. `grace`: seconds that requests in flight have when it stops.
        `most_connections`: who comes besides waits for a place; by default what the limit of open files allows.
        """
        self._name = name
        self._grace = grace
        #: How many connections it serves at once.
        self.most_connections: int = _affordable_connections() if most_connections is None else most_connections
        self._places = trio.Semaphore(self.most_connections)
        self._connections: set[Connection] = set()
        self._told: set[str] = set()
        self._stop = trio.Event()
        self._config = _config()

    def request_stop(self) -> None:
        """End, once the requests in flight are answered."""
        self._stop.set()

    async def run(self, app: ASGIApp, listeners: Sequence[trio.SocketListener], stop_app: Callable[[], None]) -> None:
        """Serve until told to stop; `stop_app` is then called, and what is in flight has `grace` seconds.

        Cancelling ends everything at once.
        """

        async def accept(connections: trio.Nursery) -> None:
            doors = [LimitedListener(each, self._places) for each in listeners]
            await trio.serve_listeners(converse, doors, handler_nursery=connections)

        async def converse(connection: Connection) -> None:
            await self._converse(app, connection)

        async with trio.open_nursery() as connections:
            try:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(accept, connections)
                    await self._stop.wait()
                    accepting.cancel_scope.cancel()
            finally:
                patience = self._grace if self._stop.is_set() else 0.0
                for connection in self._connections:
                    connection.end_sending_by(trio.current_time() + patience)
            stop_app()
            for connection in list(self._connections):
                await connection.wind_up()
            connections.cancel_scope.deadline = trio.current_time() + self._grace

    async def _converse(self, app: ASGIApp, connection: Connection) -> None:
        # A context for each, so that one whose client has gone can be told to end by itself.
        context = WorkerContext(None)

        async def wind_up() -> None:
            await context.terminated.set()
            # Not every end is noticed by hypercorn: after an upgrade to HTTP/2 it would wait for ever.
            patience = self._grace if self._stop.is_set() else _WIND_UP
            life.deadline = min(life.deadline, trio.current_time() + patience)

        connection.wind_up = wind_up
        self._connections.add(connection)
        try:
            with trio.CancelScope() as life:
                await self._serve_connection(app, context, connection)
        finally:
            self._connections.remove(connection)

    async def _serve_connection(self, app: ASGIApp, context: WorkerContext, connection: Connection) -> None:
        # hypercorn is typed for one kind of stream and of application; it asks no more of them than ours have.
        wrapped, stream = ASGIWrapper(cast("Any", app)), cast("Any", connection)
        state = cast("Any", ConnectionState({"connection": connection}))
        try:
            await TCPServer(wrapped, self._config, context, state, stream)
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
            tell(f"conductor-jobs: {self._name}: a connection failed, told once: {kind}: {error_text(problem)}")


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
