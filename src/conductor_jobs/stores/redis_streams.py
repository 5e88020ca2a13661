"""A stream to a Redis server: its host looked up, connected, and TLS begun, without a thread of the application's."""

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import anyio
import trio
from anyio.abc import ByteStream

from ..failures import error_text, sole_exception
from .redis_url import RedisAddress

T = TypeVar("T")

_THREADS: Final = 4
# For every address of a host but the last one: an IPv6 that leads nowhere is not waited for.
_PATIENCE_PER_ADDRESS: Final = 0.25
_BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("threads that prepare connections to Redis")


async def connected(address: RedisAddress) -> ByteStream:
    """Connect to the server. Raises ConnectionError saying why not, and Unusable naming a file for TLS."""
    # Certificates are read anew each time, for they are renewed, and reading those of the system takes a while.
    tls = await _in_thread(address.ssl_context) if address.tls else None
    try:
        *others, last = await _looked_up(address.host, address.port)
        for host in others:
            with suppress(OSError, *_BROKEN), trio.move_on_after(_PATIENCE_PER_ADDRESS):
                return await _stream(host, address, tls)
        return await _stream(last, address, tls)
    except (OSError, *_BROKEN) as error:
        raise ConnectionError(f"{address} cannot be reached: {root_cause(error)}") from error


async def _stream(host: str, address: RedisAddress, tls: ssl.SSLContext | None) -> ByteStream:
    if tls is None:
        return await anyio.connect_tcp(host, address.port)
    return await anyio.connect_tcp(
        host, address.port, ssl_context=tls, tls_standard_compatible=False, tls_hostname=address.host
    )


async def _looked_up(host: str, port: int) -> list[str]:
    look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = look(flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await _in_thread(look)
    return [str(address[0]) for *_, address in found]


async def _in_thread(work: Callable[[], T]) -> T:
    # With threads of our own: those of the application may all be at work, and a lease is to be renewed (I6).
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


def root_cause(error: BaseException) -> str:
    """Return what happened, in words: it is deep down, and above it they only say that it did not work."""
    while error.__cause__ is not None:
        error = sole_exception(error.__cause__)
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
    if isinstance(error, _BROKEN):
        return "the connection was lost"
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return error.strerror or error_text(error)
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error_text(error)
