"""What a Redis store keeps of runners: claims, pauses and cursors.

A fenced write is one script, which compares the lease's record; the others are one command. Each call has a connection
to itself, as those of the lease have: none is in a renewal's way but for the time that its script takes in the server.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain, compress
from typing import TYPE_CHECKING, final

from .. import records
from ..errors import StaleTerm, Unusable
from ..runner_records import Claim
from . import stored_claims
from .redis_answers import lease_record, taken_apart
from .redis_scripts import CLAIM, SAVE_CURSOR, Script, key
from .redis_url import RedisAddress

if TYPE_CHECKING:
    from .redis_connections import Connection


@final
class RedisRunners:
    """The runners of every lease in one database."""

    def __init__(self, address: RedisAddress, lent: "Callable[[], AbstractAsyncContextManager[Connection]]") -> None:
        self._address = address
        self._lent = lent

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`."""
        answer = await self._ask(b"HGETALL", key(lease_name, "claims"))
        assert isinstance(answer, dict)
        return sorted((self._claim(lease_name, runner, kept) for runner, kept in answer.items()), key=_runner)

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`."""
        if not claims:
            return []
        pairs = ((claim.runner, stored_claims.encoded(claim).decode()) for claim in claims)
        term = stored_claims.term_of(claims)
        (verdicts,) = await self._fenced(CLAIM, lease_name, "claims", term, *chain.from_iterable(pairs))
        return list(compress(claims, (verdict == ord("1") for verdict in verdicts)))

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`."""
        answer = await self._ask(b"SMEMBERS", key(lease_name, "paused"))
        assert isinstance(answer, set)
        return {self._text(lease_name, "name of a paused runner", each) for each in answer}

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`."""
        await self._ask(b"SADD" if paused else b"SREM", key(lease_name, "paused"), runner)

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`."""
        answer = await self._ask(b"HGET", key(lease_name, "cursors"), runner)
        assert answer is None or isinstance(answer, bytes)
        return None if answer is None else self._text(lease_name, f"cursor of runner {runner!r}", answer)

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`."""
        await self._fenced(SAVE_CURSOR, lease_name, "cursors", term, runner, cursor)

    async def _ask(self, command: bytes, *arguments: str) -> object:
        async with self._lent() as connection:
            return await connection.ask(command, *arguments)

    async def _fenced(self, script: Script, lease_name: str, what: str, term: int, *arguments: str) -> list[bytes]:
        async with self._lent() as connection:
            keys = [key(lease_name, "lease"), key(lease_name, what)]
            reply = await connection.run(script, keys, [str(term), *arguments])
        # Judged when the connection has been given back: the answer is complete, whatever it says.
        try:
            verdict, facts = taken_apart(reply)
            record = lease_record(0, *facts) if verdict == b"stale" else None
        except ValueError as error:
            raise Unusable(f"{self._address} has a lease {lease_name!r} that cannot be used: {error}.") from error
        if verdict == b"stale":
            raise StaleTerm(records.stale_text(record, lease_name, term))
        if verdict == b"foreign claim":
            runner, kept = facts
            raise self._not_ours(lease_name, f"claim of runner {runner.decode(errors='replace')!r}", kept)
        return facts

    def _claim(self, lease_name: str, runner: bytes, kept: bytes) -> Claim:
        try:
            return stored_claims.decoded(runner.decode(), kept)
        except ValueError as error:
            what = f"claim of runner {runner.decode(errors='replace')!r}"
            raise self._not_ours(lease_name, what, kept) from error

    def _text(self, lease_name: str, what: str, kept: bytes) -> str:
        try:
            return kept.decode()
        except UnicodeDecodeError as error:
            raise self._not_ours(lease_name, what, kept) from error

    def _not_ours(self, lease_name: str, what: str, kept: bytes) -> Unusable:
        return Unusable(
            f"{self._address} has a {what} of {lease_name!r} that is not ours: {kept[:100].decode(errors='replace')!r}."
        )


def _runner(claim: Claim) -> str:
    return claim.runner
