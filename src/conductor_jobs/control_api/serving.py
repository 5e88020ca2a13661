"""The control API's server: its life, and that of the tasks that watch the store for those who wait."""

from collections.abc import Sequence
from typing import Final, final

import trio

from ..http_serving.serving import HTTPServer
from ..lease import LeaseStore
from .app import ControlAPI

#: Seconds that requests in flight have when the server stops.
GRACE: Final = 5.0


@final
class ControlServer:
    """One server over one store. `run` it once; `request_stop` ends it."""

    def __init__(self, store: LeaseStore, token: str | None, *, most_connections: int | None = None) -> None:
        """`most_connections`: who comes besides waits for a place; by default what the limit of open files allows."""
        self._store = store
        self._token = token
        self._server = HTTPServer("control API", grace=GRACE, most_connections=most_connections)

    def request_stop(self) -> None:
        """End, once the requests in flight are answered."""
        self._server.request_stop()

    async def run(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serve until told to stop; what is then in flight has GRACE seconds. Cancelling ends everything at once."""
        async with trio.open_nursery() as watches:
            api = ControlAPI(self._store, self._token, watches)
            await self._server.run(api, listeners, api.stop)
            watches.cancel_scope.cancel()
