"""A lease store behind the HTTP control API: `conductor-jobs control-api` decides, over a store of its own.

Nodes and server need not agree about the time: a grant says how many seconds remain, and the engine counts them from
before it asked. Leases, nodes, runners and waiting have connections apart, so that neither a heartbeat that hangs nor
a long cursor nor a long poll is ever in the way of a renewal.
"""

import ssl
from collections.abc import Collection, Sequence
from typing import Final, Self, final

import httpx2
import trio

from ..lease import Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..runner_records import Claim
from . import http_wire as wire
from . import http_wire_runners as wire_runners
from .http_client import APIClient
from .http_errors import ControlAPIError

__all__ = ["ControlAPIError", "HTTPLeaseStore"]

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
        self._api = APIClient(base_url, token, ssl_context, transport)
        self.base_url: str = self._api.base_url

    def __repr__(self) -> str:
        return f"HTTPLeaseStore({self.base_url!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both ask the same API."""
        return isinstance(other, HTTPLeaseStore) and self.base_url == other.base_url

    def __hash__(self) -> int:
        return hash(self.base_url)

    async def __aenter__(self) -> Self:
        self._api.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._api.aclose()

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError, and ValueError for a name or a ttl that the API does not take.
        """
        request = wire.AcquireRequest(lease_name, holder.node_id, holder.incarnation, ttl, term)
        return (await self._api.post("leases", "leader/acquire", request, wire.Grant)).as_lease_grant()

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError.
        """
        request = wire.ReleaseRequest(lease_name, holder.node_id, holder.incarnation)
        return (await self._api.post("leases", "leader/release", request, wire.Released)).released

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

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """See `NodeRegistry.heartbeat`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError.
        """
        described = (node.host, node.role, node.priority, node.version)
        request = wire.Heartbeat(lease_name, node.node_id, incarnation, *described, state, fingerprint)
        await self._api.post("nodes", "controllers/heartbeat", request, wire.Nothing)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`. Raises ControlAPIError."""
        answer = await self._api.get("nodes", "controllers", {"leaseName": lease_name}, wire.Controllers)
        return [each.as_node_seen() for each in answer.controllers]

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`. Raises ControlAPIError."""
        answer = await self._api.get("runners", "runners/claims", {"leaseName": lease_name}, wire_runners.KeptClaims)
        return [each.as_claim() for each in answer.claims]

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError, StaleTerm, and ValueError for claims that the API does not take.
        """
        if not claims:
            return []
        request = wire_runners.ClaimRequest.of(lease_name, claims)
        answer = await self._api.post("runners", "runners/claim", request, wire_runners.KeptRunners)
        kept = set(answer.kept)
        return [claim for claim in claims if claim.runner in kept]

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`. Raises ControlAPIError."""
        answer = await self._api.get("runners", "runners/paused", {"leaseName": lease_name}, wire_runners.PausedRunners)
        return set(answer.runners)

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError.
        """
        request = wire_runners.PauseRequest(lease_name, runner, paused)
        await self._api.post("runners", "runners/pause", request, wire.Nothing)

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`. Raises ControlAPIError."""
        asked = {"leaseName": lease_name, "runner": runner}
        return (await self._api.get("runners", "runners/cursor", asked, wire_runners.Cursor)).cursor

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`. Cancelling closes the connection; the call may still be carried out.

        Raises ControlAPIError, StaleTerm, and ValueError for a cursor that the API does not take.
        """
        request = wire_runners.CursorRequest(lease_name, runner, term, cursor)
        await self._api.post("runners", "runners/cursor/save", request, wire.Nothing)

    async def _wait(self, event: wire.Event, lease_name: str, term: int) -> None:
        asked = {"leaseName": lease_name, "term": str(term), "event": event, "timeout": str(wire.LONGEST_WAIT)}
        while True:
            asked_at = trio.current_time()
            if (await self._api.get("waits", "leader/wait", asked, wire.Waited)).happened:
                return
            # A server that shuts down answers at once that there is nothing to tell.
            if trio.current_time() - asked_at < _PAUSE_AFTER_EARLY_ANSWER:
                await trio.sleep(_PAUSE_AFTER_EARLY_ANSWER)
