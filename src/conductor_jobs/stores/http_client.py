"""Asking a control API: connections by purpose, requests, and what comes back, within bounds."""

import ssl
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final, Literal, TypeVar, final
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from .http_errors import ControlAPIError, unreachable, unwrapped
from .http_transport import Transport
from .http_wire_runners import LARGEST_OF_RUNNERS
from .urls import require_text

T = TypeVar("T", bound=msgspec.Struct)
Purpose = Literal["leases", "nodes", "runners", "waits"]

_LONGEST_ANSWER: Final = 4 * 2**20
_LONGEST_ANSWERS: Final[Mapping[Purpose, int]] = {"runners": LARGEST_OF_RUNNERS}
# The engine gives a call up long before; this is for callers that set no deadline.
_PATIENCE: Final = 60.0
# Less than what the server allows, so that it is never the server that ends a connection just as it is used again.
_KEEP_ALIVE: Final = 20.0


@final
class APIClient:
    """One API, asked over a connection for each purpose, so that no call is in the way of another one's renewal."""

    def __init__(
        self,
        base_url: str,
        token: str | None,
        ssl_context: ssl.SSLContext | None,
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        """See `HTTPLeaseStore`; nothing is connected yet. Raises ValueError, showing no credentials."""
        self.base_url: str = _checked_base_url(base_url)
        self._headers = [(b"accept-encoding", b"identity"), (b"user-agent", b"conductor-jobs")]
        if token is not None:
            self._headers.append((b"authorization", b"Bearer " + _checked_token(token).encode()))
        self._ssl_context = ssl_context
        self._transport = transport
        self._kept_open = False
        # Connections belong to one Trio run.
        self._connections = trio.lowlevel.RunVar[dict[Purpose, httpx2.AsyncClient]](f"connections to {self.base_url}")

    def open(self) -> None:
        """Keep connections open from now on."""
        self._kept_open = True
        self._connections.set({})

    async def aclose(self) -> None:
        """Close the connections, and keep none open from now on."""
        self._kept_open = False
        clients = self._connections.get({})
        self._connections.set({})
        with trio.CancelScope(shield=True):
            for client in clients.values():
                await client.aclose()

    async def post(self, purpose: Purpose, path: str, request: msgspec.Struct, what: type[T]) -> T:
        """Return what is answered to a POST. Cancelling closes the connection. Raises ControlAPIError, StaleTerm."""
        content, headers = msgspec.json.encode(request), {"content-type": "application/json"}
        return await self._send(purpose, "POST", path, what, content=content, headers=headers)

    async def get(self, purpose: Purpose, path: str, query: dict[str, str], what: type[T]) -> T:
        """Return what is answered to a GET. Cancelling closes the connection. Raises ControlAPIError."""
        return await self._send(purpose, "GET", path, what, params=query)

    async def _send(self, purpose: Purpose, method: str, path: str, what: type[T], **options: Any) -> T:
        client = self._client(purpose)
        request = client.build_request(method, f"{self.base_url}/v1/{path}", **options)
        try:
            response = await client.send(request, stream=True)
            try:
                content = await self._content(response, _LONGEST_ANSWERS.get(purpose, _LONGEST_ANSWER))
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            raise unreachable(self.base_url, error) from error
        return unwrapped(self.base_url, response, content, what)

    async def _content(self, response: httpx2.Response, longest: int) -> bytes:
        content = bytearray()
        async with aclosing(response.aiter_raw()) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > longest:
                    raise ControlAPIError(f"control API {self.base_url} answered more than {longest} bytes")
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
    require_text("HTTPLeaseStore base_url", text, "a text like http://HOST[:PORT][/PATH]")
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
    require_text("HTTPLeaseStore token", token, "a line of text")
    if not token or not token.isprintable() or token != token.strip():
        raise ValueError("HTTPLeaseStore token must be a non-empty line of text without blanks around it.")
    return token
