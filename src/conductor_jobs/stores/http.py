"""A lease store behind the HTTP control API: `conductor-jobs control-api` decides, over a store of its own.

Nodes and server need not agree about the time: a grant says how many seconds remain, and the engine counts them from
before it asked. Leases, nodes and waiting have connections apart, so that neither a heartbeat that hangs nor a long
poll is ever in the way of a renewal.
"""

import ssl
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final, Literal, Self, TypeVar, final
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from ..lease import Holder, LeaseGrant, Node, NodeSeen, NodeState
from . import http_wire as wire
from .http_errors import ControlAPIError, unreachable, unwrapped
from .http_transport import Transport

__all__ = ["ControlAPIError", "HTTPLeaseStore"]

T = TypeVar("T", bound=msgspec.Struct)
Purpose = Literal["leases", "nodes", "waits"]

_LONGEST_ANSWER: Final = 4 * 2**20
# The engine gives a call up long before; this is for callers that set no deadline.
_PATIENCE: Final = 60.0
# Less than what the server allows, so that it is never the server that ends a connection just as it is used again.
_KEEP_ALIVE: Final = 20.0
_PAUSE_AFTER_EARLY_ANSWER: Final = 0.5


@final
class HTTPLeaseStore:
    """Leases that a control API keeps. `async with` keeps its connections open from one call to the next.

    Without it every call makes a connection of its own, and nothing is left open. Several conductors may share one.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Remember where the API is; nothing is connected yet.

        `base_url`: `http://HOST[:PORT][/PATH]` or `https://…`. `token`: the bearer token that the server was started
        with. `ssl_context`: by default the certificate must be one that the system, or SSL_CERT_FILE, trusts.
        `transport`: in place of a network, for tests. Proxies that the environment names are not used. Raises
        ValueError, showing no credentials.
        """
        self.base_url: str = _checked_base_url(base_url)
        self._headers = [(b"accept-encoding", b"identity"), (b"user-agent", b"conductor-jobs")]
        if token is not None:
            self._headers.append((b"authorization", b"Bearer " + _checked_token(token).encode()))
        self._ssl_context = ssl_context
        self._transport = transport
        self._kept_open = False
        # Connections belong to one Trio run.
        self._connections = trio.lowlevel.RunVar[dict[Purpose, httpx2.AsyncClient]](f"connections to {self.base_url}")

    def __repr__(self) -> str:
        return f"HTTPLeaseStore({self.base_url!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both ask the same API."""
        return isinstance(other, HTTPLeaseStore) and self.base_url == other.base_url

    def __hash__(self) -> int:
        return hash(self.base_url)

    async def __aenter__(self) -> Self:
        self._kept_open = True
        self._connections.set({})
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._kept_open = False
        clients = self._connections.get({})
        self._connections.set({})
        with trio.CancelScope(shield=True):
            for client in clients.values():
                await client.aclose()

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError, and ValueError for a name or a ttl that the API does not take.
        """
        request = wire.AcquireRequest(lease_name, holder.node_id, holder.incarnation, ttl, term)
        return (await self._post("leases", "leader/acquire", request, wire.Grant)).as_lease_grant()

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError.
        """
        request = wire.ReleaseRequest(lease_name, holder.node_id, holder.incarnation)
        return (await self._post("leases", "leader/release", request, wire.Released)).released

    async def wait_released(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_released`: long polls, one after the other. Cancelling stops the waiting only.

        Raises ControlAPIError.
        """
        await self._wait("released", lease_name, term)

    async def wait_begun(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_begun`: long polls, one after the other. Cancelling stops the waiting only.

        Raises ControlAPIError.
        """
        await self._wait("begun", lease_name, term)

    async def heartbeat(self, lease_name: str, node: Node, incarnation: str, state: NodeState) -> None:
        """See `NodeRegistry.heartbeat`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError.
        """
        described = (node.host, node.role, node.priority, node.version)
        request = wire.Heartbeat(lease_name, node.node_id, incarnation, *described, state)
        await self._post("nodes", "controllers/heartbeat", request, wire.Nothing)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`. Raises ControlAPIError."""
        answer = await self._get("nodes", "controllers", {"leaseName": lease_name}, wire.Controllers)
        return [each.as_node_seen() for each in answer.controllers]

    async def _wait(self, event: wire.Event, lease_name: str, term: int) -> None:
        asked = {"leaseName": lease_name, "term": str(term), "event": event, "timeout": str(wire.LONGEST_WAIT)}
        while True:
            asked_at = trio.current_time()
            if (await self._get("waits", "leader/wait", asked, wire.Waited)).happened:
                return
            # A server that shuts down answers at once that there is nothing to tell.
            if trio.current_time() - asked_at < _PAUSE_AFTER_EARLY_ANSWER:
                await trio.sleep(_PAUSE_AFTER_EARLY_ANSWER)

    async def _post(self, purpose: Purpose, path: str, request: msgspec.Struct, what: type[T]) -> T:
        headers = {"content-type": "application/json"}
        client = self._client(purpose)
        url = f"{self.base_url}/v1/{path}"
        return await self._send(
            client, client.build_request("POST", url, content=msgspec.json.encode(request), headers=headers), what
        )

    async def _get(self, purpose: Purpose, path: str, query: dict[str, str], what: type[T]) -> T:
        client = self._client(purpose)
        return await self._send(client, client.build_request("GET", f"{self.base_url}/v1/{path}", params=query), what)

    async def _send(self, client: httpx2.AsyncClient, request: httpx2.Request, what: type[T]) -> T:
        try:
            response = await client.send(request, stream=True)
            try:
                content = await self._content(response)
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            raise unreachable(self.base_url, error) from error
        return unwrapped(self.base_url, response, content, what)

    async def _content(self, response: httpx2.Response) -> bytes:
        content = bytearray()
        async with aclosing(response.aiter_raw()) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > _LONGEST_ANSWER:
                    raise ControlAPIError(f"control API {self.base_url} answered more than {_LONGEST_ANSWER} bytes")
        return bytes(content)

    def _client(self, purpose: Purpose) -> httpx2.AsyncClient:
        clients = self._connections.get({})
        self._connections.set(clients)
        if purpose not in clients:
            clients[purpose] = self._new_client()
        return clients[purpose]

    def _new_client(self) -> httpx2.AsyncClient:
        if self._ssl_context is None and self.base_url.startswith("https:"):
            # Costs more than anything else here, and is the same for all.
            self._ssl_context = httpx2.create_ssl_context()
        # Of several that were kept over a broken network each would cost a call that hangs.
        kept = 1 if self._kept_open else 0
        return httpx2.AsyncClient(
            headers=self._headers,
            timeout=_PATIENCE,
            # The token goes to nobody but the host that it was given for.
            follow_redirects=False,
            trust_env=False,
            transport=self._transport or Transport(self._ssl_context, kept=kept, keep_alive=_KEEP_ALIVE),
        )


def _checked_base_url(text: str) -> str:
    rule = "HTTPLeaseStore base_url must be `http://HOST[:PORT][/PATH]` or `https://…`, without credentials"
    try:
        parts = urlsplit(text)
        holds = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(f"{rule}.") from None
    if "@" in text:
        raise ValueError(f"{rule}; the token is an argument of its own.")
    if not holds or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise ValueError(f"{rule}, not {text!r}.")
    return text.rstrip("/")


def _checked_token(token: str) -> str:
    if not token or not token.isprintable() or token != token.strip():
        raise ValueError("HTTPLeaseStore token must be a non-empty line of text without blanks around it.")
    return token
