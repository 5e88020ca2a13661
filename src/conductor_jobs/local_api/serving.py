"""Serving a conductor's local API: listening first, so that a port in use is known before anything starts."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from ..conductor import Conductor
from ..failures import shown
from ..http_serving.address import parsed_address
from ..http_serving.serving import HTTPServer, exposed_addresses, open_listeners, urls_of
from ..rules import LINE
from .app import LocalAPI
from .guard import TOKEN_VARIABLE

DEFAULT_URL: Final = "http://127.0.0.1:4317"
#: Seconds that requests in flight, and those who listen and do not read, have when the server stops.
GRACE: Final = 1.0


@final
class LocalServer:
    """The local API on its listeners. `run` it once; `request_stop` ends it."""

    def __init__(self, listeners: Sequence[trio.SocketListener], token: str | None) -> None:
        self._listeners = listeners
        self._token = token
        self._server = HTTPServer("local API", grace=GRACE)
        #: What is listened on.
        self.urls: Sequence[str] = urls_of(listeners)
        self._exposed = bool(exposed_addresses(listeners))

    @property
    def access(self) -> str:
        """Who may do what, in words."""
        if self._token is None:
            return "for this machine to read, without a token for commands"
        return "for whoever bears the token" if self._exposed else "for this machine; commands with the token"

    def request_stop(self) -> None:
        """End, with the event streams, once the requests in flight are answered."""
        self._server.request_stop()

    async def run(
        self, conductor: Conductor, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until told to stop; what is then in flight has GRACE seconds. Cancelling ends everything at once."""
        most_listeners = max(1, self._server.most_connections // 2)
        with LocalAPI(conductor, self._token, exposed=self._exposed, most_listeners=most_listeners) as api:
            async with trio.open_nursery() as nursery:
                api.start(nursery)
                task_status.started(list(self.urls))
                await self._server.run(api, self._listeners, api.stop)
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(url: str, token: str | None) -> AsyncGenerator[LocalServer]:
    """Listen on `url` while the block lasts. Raises what `serve_local_api` raises."""
    host, port = parsed_address(url)
    listeners = await open_listeners(host, port, with_token=token is not None, token_setting=TOKEN_VARIABLE)
    try:
        yield LocalServer(listeners, token)
    finally:
        for listener in listeners:
            await trio.aclose_forcefully(listener)


async def serve_local_api(
    conductor: Conductor,
    url: str = DEFAULT_URL,
    *,
    token: str | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a conductor's local API over HTTP until cancelled, whether or not the conductor runs.

    `url` is where to listen, `http://HOST:PORT`; port 0 takes a free one. `token` is what whoever writes must bear,
    and whoever reads too if others than this machine can connect; without it nobody may write. Under
    `nursery.start` it returns the URLs that are listened on. On the conductor's loop.

    Raises ValueError for a `token` that is no line of text, and for a `url` that is none, or that others can reach
    while there is no token; OSError when it cannot be listened on, as with a port in use. Cancelling ends all requests
    at once; ticks that were asked for go on.
    """
    if not isinstance(conductor, Conductor):
        raise TypeError(f"serve_local_api conductor must be a Conductor, not {shown(conductor)}.")
    if token is not None and not _is_token(token):
        raise ValueError("serve_local_api token must be a non-empty line of text without blanks around it.")
    try:
        parsed_address(url)
    except ValueError as error:
        raise ValueError(f"serve_local_api url {error}.") from None
    async with listening(url, token) as server:
        await server.run(conductor, task_status=task_status)


def _is_token(token: object) -> bool:
    # Blanks around it would be lost on the way, and nobody could bear it.
    return isinstance(token, str) and LINE.parse(token) == token
