"""One etcd cluster by its JSON gateway: connections, the member that is asked, logins, and errors in words.

A call that is cancelled takes its connection with it, and whatever it was to bring is never read. There are as many
connections as calls under way: a watch or a heartbeat that hangs is in no renewal's way.
"""

import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import httpx2
import msgspec
import trio

from ..errors import Unusable
from .etcd_address import EtcdAddress
from .etcd_api import (
    Answer,
    Authenticated,
    EtcdLease,
    Event,
    Found,
    Granted,
    KeptAlive,
    Message,
    Nothing,
    Refusal,
    Streamed,
    TimeToLive,
    Transacted,
    decoded,
    watching,
)

# Status codes of gRPC.
_INVALID_ARGUMENT: Final = 3
_FAILED_PRECONDITION: Final = 9
_UNAVAILABLE: Final = 14
_UNAUTHENTICATED: Final = 16
# Longer than any pause between two renewals that is not told otherwise.
_IDLE_SECONDS: Final = 60.0


class EtcdError(Exception):
    """Etcd could not be asked, or refused; its text is for a user."""


class EtcdRefusal(EtcdError):
    """Etcd answered with an error, and did nothing of what it was asked."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code: int = code


@final
class EtcdGateway:
    """Calls of a cluster. Cancelling one leaves its outcome unknown."""

    def __init__(self, address: EtcdAddress) -> None:
        self.address: EtcdAddress = address
        self._clients: trio.lowlevel.RunVar[httpx2.AsyncClient | None] = trio.lowlevel.RunVar(
            f"client of {address}", None
        )
        self._first = 0  # the member that is asked first
        # "" where nobody needs to log in; None before the first login.
        self._token: str | None = None

    async def aclose(self) -> None:
        """Close every connection of this Trio run; the next call opens others."""
        client = self._clients.get()
        if client is not None:
            self._clients.set(None)
            await client.aclose()

    async def read(self, key: bytes, end: bytes | None = None) -> Found:
        """Read a key, or all from `key` up to but without `end`, as they are after all that was written before.

        A transaction of reads would bring keys from anywhere; but one that is given up in the middle ends the process
        of an etcd before 3.5.7 (its issues 14110 and 14891).
        """
        message: Message = {"key": key} if end is None else {"key": key, "range_end": end}
        return await self._ask("kv/range", message, Found)

    async def write(self, key: bytes, value: bytes) -> None:
        """Write a key, whatever it held before."""
        await self._ask("kv/put", {"key": key, "value": value}, Nothing)

    async def transact(self, *, when: Sequence[Message], then: Sequence[Message]) -> Transacted:
        """If all comparisons hold carry out all steps, in one step that nobody else's comes between."""
        return await self._ask("kv/txn", {"compare": when, "success": then}, Transacted)

    async def grant(self, seconds: int) -> EtcdLease:
        """Begin an etcd lease, of more seconds than asked for should etcd insist."""
        granted = await self._ask("lease/grant", {"TTL": str(seconds)}, Granted)
        return EtcdLease(granted.lease, granted.ttl)

    async def keep_alive(self, lease: int) -> EtcdLease:
        """Have an etcd lease begin its time again."""
        kept = (await self._ask("lease/keepalive", {"ID": str(lease)}, KeptAlive)).result
        return EtcdLease(lease, kept.ttl, kept.header.raft_term)

    async def time_to_live(self, lease: int) -> int:
        """Return the whole seconds that an etcd lease has left, less than 0 if there is none."""
        return (await self._ask("lease/timetolive", {"ID": str(lease)}, TimeToLive)).ttl

    async def revoke(self, lease: int) -> None:
        """End an etcd lease, with whatever lives by it."""
        await self._ask("lease/revoke", {"ID": str(lease)}, Nothing)

    async def watch(self, key: bytes, end: bytes, from_revision: int, enough: Callable[[Event], bool]) -> None:
        """Hand what is written from `key` up to but without `end`, from that revision on, to `enough`.

        Returns once that has returned True; or when the server has ended the watch, as it does after it has forgotten
        that revision (compaction): then look again, and watch from there.
        """
        member = self.address.members[self._first]
        request = self._client().stream("POST", **self._request(member, "watch", watching(key, end, from_revision)))
        outcome: bool | Exception = False
        try:
            # Httpx2 leaves generators behind where a response is not read to its end, unless the reading is cancelled.
            with trio.CancelScope() as reading:
                async with request as response:
                    rest = b""
                    async for chunk in response.aiter_raw():
                        *lines, rest = (rest + chunk).split(b"\n")
                        outcome = outcome or _outcome(lines, member, enough)
                        if outcome:
                            reading.cancel()
        except httpx2.TransportError as error:
            raise EtcdError(f"the watch of etcd at {member} broke off{_because(error)}") from error
        if isinstance(outcome, Exception):
            raise outcome

    async def _ask(self, path: str, message: Message, kind: type[Answer]) -> Answer:
        if self.address.user is None:
            return await self._post(path, message, kind)
        if self._token is None:
            await self._log_in(self.address.user)
        try:
            return await self._post(path, message, kind)
        except EtcdRefusal as refusal:
            # A token that has run out; or one from before users were changed, or none though one is needed by now,
            # which etcd has no code of their own for.
            if refusal.code not in (_UNAUTHENTICATED, _INVALID_ARGUMENT):
                raise
        await self._log_in(self.address.user)
        return await self._post(path, message, kind)

    async def _log_in(self, user: str) -> None:
        login: Message = {"name": user, "password": self.address.password}
        self._token = None
        try:
            self._token = (await self._post("auth/authenticate", login, Authenticated)).token
        except EtcdRefusal as refusal:
            if refusal.code != _FAILED_PRECONDITION:
                raise EtcdRefusal(f"login as {user!r}: {refusal}", refusal.code) from refusal
            self._token = ""  # nobody needs to log in there

    async def _post(self, path: str, message: Message, kind: type[Answer]) -> Answer:
        unreachable: list[str] = []
        for _ in self.address.members:
            member = self.address.members[self._first]
            try:
                response = await self._client().post(**self._request(member, path, message))
                return _decoded(response.content, kind, member, response.status_code)
            except httpx2.ConnectError as error:
                # It got nothing of the call, so another may have it.
                unreachable.append(f"etcd at {member} cannot be reached{_because(error)}")
                self._ask_another_than(member)
            except httpx2.TransportError as error:
                self._ask_another_than(member)
                raise EtcdError(f"etcd at {member} broke off before it answered{_because(error)}") from error
            except EtcdRefusal as refusal:
                if refusal.code == _UNAVAILABLE:
                    self._ask_another_than(member)
                raise
            except trio.Cancelled:
                # Given up, as on a member that hangs. Should it be healthy, so are others.
                self._ask_another_than(member)
                raise
        raise EtcdError("; ".join(unreachable))

    def _ask_another_than(self, member: str) -> None:
        # Calls side by side may find the same member wanting.
        if self.address.members[self._first] == member:
            self._first = (self._first + 1) % len(self.address.members)

    def _request(self, member: str, path: str, message: Message) -> Any:
        return {
            "url": f"{self.address.base_url(member)}/v3/{path}",
            "content": msgspec.json.encode(message),
            "headers": {"Content-Type": "application/json"} | ({"Authorization": self._token} if self._token else {}),
        }

    def _client(self) -> httpx2.AsyncClient:
        client = self._clients.get()
        if client is None:
            client = httpx2.AsyncClient(
                verify=self._tls(),
                # Time is up when the caller's is. A proxy of the environment's is for the world outside.
                timeout=None,
                trust_env=False,
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=_IDLE_SECONDS),
            )
            self._clients.set(client)
        return client

    def _tls(self) -> ssl.SSLContext:
        if not self.address.secure:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused; the default reads some hundred certificates
        try:
            return self.address.ssl_context()
        except OSError as error:
            raise Unusable(f"the certificates for {self.address} cannot be read: {error}.") from error


def _decoded(content: bytes | str, kind: type[Answer], member: str, status: int = 200) -> Answer:
    try:
        if status == 200:
            return decoded(content, kind)
    except ValueError:
        pass  # a stream says by its content that it has failed
    reason, code = _reason(content)
    if not reason:
        raise EtcdError(f"what answers at {member} is not etcd's JSON API (HTTP status {status})")
    raise EtcdRefusal(f"etcd at {member} refused: {reason.removeprefix('etcdserver: ')}", code)


def _reason(content: bytes | str) -> tuple[str, int]:
    try:
        return decoded(content, Refusal).reason()
    except ValueError:
        return "", 0


def _outcome(lines: Sequence[bytes], member: str, enough: Callable[[Event], bool]) -> bool | Exception:
    try:
        for line in lines:
            watched = _decoded(line, Streamed, member).result
            if watched.canceled and watched.compact_revision:
                return True
            if watched.canceled:
                return EtcdError(f"etcd at {member} ended the watch: {watched.cancel_reason}")
            if any(enough(event) for event in watched.events):
                return True
    except (EtcdError, Unusable) as error:
        return error
    return False


def _because(error: BaseException) -> str:
    # What TLS has against a certificate is the text of a cause; the errors above it have none.
    while not str(error) and (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f": {error}" if str(error) else ""
