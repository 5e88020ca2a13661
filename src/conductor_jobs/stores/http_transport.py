"""HTTP without a thread of the application's: httpx2's own transport looks hosts up in those, which may all be busy.

Forty of them at work held up a renewal for as long as they were (I6: tried). How a connection comes about is not for
httpx2 to say, but for httpcore2 beneath it.
"""

import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Any, Final, cast, final

import httpcore2
import httpx2
import trio

# For every address of a host but the last one: an IPv6 that leads nowhere is not waited for.
_PATIENCE_PER_ADDRESS: Final = 0.25
_THREADS: Final = 4
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("threads that look hosts up for a lease store")


@final
class Transport(httpx2.AsyncBaseTransport):
    """Connections over TCP and TLS, of which up to `kept` stay open for `keep_alive` seconds after an answer."""

    def __init__(self, tls: ssl.SSLContext | None, *, kept: int, keep_alive: float) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=kept,
            keepalive_expiry=keep_alive,
            network_backend=_Network(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return the beginning of its answer. Raises httpx2.TransportError."""
        url = request.url
        with _errors_of_httpx():
            answer = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=cast("AsyncIterable[bytes]", request.stream),
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Content(answer))

    async def aclose(self) -> None:
        """Close what is kept open."""
        await self._pool.aclose()


@final
class _Content(httpx2.AsyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async with aclosing(self._answer.aiter_stream()) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()


@final
class _Network(httpcore2.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._trio = httpcore2.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        connect = partial(
            self._trio.connect_tcp, timeout=timeout, local_address=local_address, socket_options=socket_options or ()
        )
        *others, last = await _looked_up(host, port)
        for address in others:
            with suppress(httpcore2.ConnectError), trio.move_on_after(_PATIENCE_PER_ADDRESS):
                return await connect(address, port)
        return await connect(last, port)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def _looked_up(host: str, port: int) -> list[str]:
    look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = look(flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        try:
            found = await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=_own_threads())
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in found]


def _own_threads() -> trio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        _limiter.set(trio.CapacityLimiter(_THREADS))
        return _limiter.get()


@contextmanager
def _errors_of_httpx() -> Generator[None]:
    try:
        yield
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
        raise httpx2.TransportError(str(error)) from error
