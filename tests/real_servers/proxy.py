"""A bad network: a TCP proxy between a store and its server that a test cuts, delays, or turns into a black hole.

    with Proxy(port) as proxy:
        store = RedisLeaseStore(proxy.instead_of(server.url))

It runs in a thread with a Trio loop of its own, and may be told what to do from any thread.
"""

import socket
import struct
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import trio

_CHUNK = 65536


class Proxy:
    """Passes every connection on to a port of loopback, until told otherwise."""

    def __init__(self, port: int) -> None:
        """Nothing is started yet: `with Proxy(port) as proxy`."""
        #: Where to connect instead.
        self.port = 0
        #: Seconds by which what is sent arrives late, each way; may be changed at any time.
        self.delay = 0.0
        #: How many connections were made through it, and how many of them it has cut.
        self.connections = 0
        self.cuts = 0
        self._target = port
        self._lost_request: bytes | None = None
        self._lost_answer: bytes | None = None
        self._open: set[_Connection] = set()
        self._passing = trio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        self._token.run_sync_soon(self._everything.cancel)
        self._thread.join()

    def instead_of(self, url: str) -> str:
        """Return the URL with this proxy in the place of host and port."""
        parts = urlsplit(url)
        userinfo, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{self.port}"))

    def cut(self) -> None:
        """Reset every connection that there is, on both sides; new ones are passed on."""
        self._in_loop(self._cut_all)

    def black_hole(self) -> None:
        """From now on nothing gets through, either way: connections are accepted, and nothing answers."""
        self._in_loop(self._swallow)

    def heal(self) -> None:
        """Pass everything on again, what was held back included; no request and no answer is to be lost any more."""
        self._in_loop(self._pass_on)

    def lose_request(self, containing: bytes = b"") -> None:
        """Cut the connection at the next request with these bytes in it: the server gets nothing of it."""
        self._lost_request = containing

    def lose_answer(self, containing: bytes = b"") -> None:
        """Pass the next request with these bytes on, and cut its connection when the server answers it."""
        self._lost_answer = containing

    async def passage(self) -> None:
        """Wait for as long as something that was just sent is under way."""
        await trio.sleep(self.delay)
        await self._passing.wait()

    def loses_request(self, data: bytes) -> bool:
        """Return whether this is the request that was to be lost; if so it is no longer waited for."""
        found = self._lost_request is not None and self._lost_request in data
        self._lost_request = None if found else self._lost_request
        return found

    def loses_answer(self, data: bytes) -> bool:
        """Return whether the answer to this request was to be lost; if so it is no longer waited for."""
        found = self._lost_answer is not None and self._lost_answer in data
        self._lost_answer = None if found else self._lost_answer
        return found

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._passing.set()
        with trio.CancelScope() as self._everything:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listener.socket.getsockname()[1]
            self._ready.set()
            await trio.serve_listeners(self._connection, [listener])

    async def _connection(self, client: trio.SocketStream) -> None:
        self.connections += 1
        connection = _Connection(self, client)
        self._open.add(connection)
        try:
            await connection.run(self._target)
        finally:
            self._open.remove(connection)

    def _in_loop(self, change: Callable[[], None]) -> None:
        done = threading.Event()

        def carry_out() -> None:
            change()
            done.set()

        self._token.run_sync_soon(carry_out)
        done.wait()

    def _cut_all(self) -> None:
        for connection in self._open:
            connection.cut()

    def _swallow(self) -> None:
        self._passing = trio.Event()

    def _pass_on(self) -> None:
        self._lost_request = self._lost_answer = None
        self._passing.set()


class _Connection:
    """One connection through the proxy, both sides of it."""

    def __init__(self, proxy: Proxy, client: trio.SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._sides = [client]
        self._scope = trio.CancelScope()
        self._answer_is_lost = False

    async def run(self, target: int) -> None:
        """Pass on what both sides send, until both have ended or it is cut."""
        try:
            with self._scope:
                # One that was made into a black hole reaches nobody either.
                await self._proxy.passage()
                server = await trio.open_tcp_stream("127.0.0.1", target)
                self._sides.append(server)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, self._client, server, self._let_request_through)
                    nursery.start_soon(self._pump, server, self._client, self._let_answer_through)
        except* OSError:
            self._reset()  # nobody listens
        finally:
            for side in self._sides:
                side.socket.close()

    def cut(self) -> None:
        """Break it, as a firewall does that has lost its memory."""
        self._proxy.cuts += 1
        self._reset()
        self._scope.cancel()

    async def _pump(
        self, source: trio.SocketStream, target: trio.SocketStream, let_through: Callable[[bytes], bool]
    ) -> None:
        try:
            while data := await source.receive_some(_CHUNK):
                await self._proxy.passage()
                if not let_through(data):
                    self.cut()
                    return
                await target.send_all(data)
            await self._proxy.passage()
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._reset()
            self._scope.cancel()

    def _let_request_through(self, data: bytes) -> bool:
        self._answer_is_lost = self._answer_is_lost or self._proxy.loses_answer(data)
        return not self._proxy.loses_request(data)

    def _let_answer_through(self, _: bytes) -> bool:
        return not self._answer_is_lost

    def _reset(self) -> None:
        for side in self._sides:
            # Lingering for no time at all sends RST in place of FIN: an error for the other side, not an end.
            if side.socket.fileno() != -1:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.socket.close()
