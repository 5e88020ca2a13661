"""What an etcd store keeps of runners: claims, pauses and cursors, each below a folder of its lease.

A fenced write is a transaction that compares what the lease's record holds with what it held when its term was found to
be the present one. A renewal leaves the record as it is, so it is in no write's way; a campaign or a release changes
it. What was compared last is remembered: as long as the term lasts nobody need look again.
"""

from collections.abc import Collection, Sequence
from typing import Final, final

from .. import records
from ..errors import StaleTerm
from ..lease import Holder
from ..runner_records import Claim, supersedes
from . import stored_claims
from .etcd_api import KeyValue, Message, delete, holds, put, unwritten_since
from .etcd_gateway import EtcdGateway
from .etcd_keys import LeaseKeys, below, not_ours, part, runner_of

# Etcd carries out 128 steps in a transaction unless it was started with --max-txn-ops.
CLAIMS_AT_ONCE: Final = 128
_NOBODY: Final = Holder("", "")


@final
class EtcdRunners:
    """The runners below one prefix."""

    def __init__(self, gateway: EtcdGateway, prefix: str) -> None:
        self._gateway = gateway
        self._prefix = prefix
        # By the name of a lease: a term that was found to be its present one, and what its record held then.
        self._present: dict[str, tuple[int, bytes]] = {}

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`."""
        found = await self._gateway.read(*below(self._folder("claims", lease_name)))
        return sorted((self._claim(lease_name, each) for each in found.kvs), key=_runner)

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`: `CLAIMS_AT_ONCE` are written in a transaction, each of which is fenced.

        Calling again what was given up goes on where it was, since what is kept already need not be written.
        """
        if not claims:
            return []
        term = stored_claims.term_of(claims)
        # In the order of their keys, so that each transaction has neighbours, which one comparison covers.
        by_key = {self._key("claims", lease_name, claim.runner): claim for claim in claims}
        keys, written = sorted(by_key), set[bytes]()
        while True:
            found = await self._gateway.read(*_span(keys))
            kept = {each.key: self._claim(lease_name, each) for each in found.kvs}
            taken = [key for key in keys if supersedes(by_key[key], kept.get(key))]
            new = {key: by_key[key] for key in taken if by_key[key] != kept.get(key)}
            now_written = await self._written(lease_name, term, new, found.header.revision)
            written.update(now_written)
            if len(now_written) == len(new):
                written.update(taken)
                return [claim for key, claim in by_key.items() if key in written]

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`."""
        folder = self._folder("paused", lease_name)
        found = await self._gateway.read(*below(folder))
        for each in found.kvs:
            if each.value:
                raise not_ours(each, ValueError("it should be empty"))
        return {runner_of(each, folder) for each in found.kvs}

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`."""
        key = self._key("paused", lease_name, runner)
        await self._gateway.transact(when=[], then=[put(key, b"") if paused else delete(key)])

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`."""
        for found in (await self._gateway.read(self._key("cursors", lease_name, runner))).kvs:
            try:
                return found.value.decode()
            except UnicodeDecodeError as error:
                raise not_ours(found, error) from error
        return None

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`."""
        step = put(self._key("cursors", lease_name, runner), cursor.encode())
        while not await self._carried_out(lease_name, term, when=[], then=[step]):
            pass  # the record was written anew in the same term, by a renewal with another ttl

    async def _written(self, lease_name: str, term: int, claims: dict[bytes, Claim], revision: int) -> Sequence[bytes]:
        # Returns the keys up to where claims have been written since that revision, which are to be read first.
        keys = list(claims)
        if not keys:
            # Whatever is kept already, or is not to be kept, stays so: it is enough that the term is the present one
            # after that was read. A transaction that writes nothing is one of those that `EtcdGateway.read` avoids.
            await self._look(lease_name, term)
        for start in range(0, len(keys), CLAIMS_AT_ONCE):
            step = keys[start : start + CLAIMS_AT_ONCE]
            puts = [put(key, stored_claims.encoded(claims[key])) for key in step]
            unwritten = unwritten_since(*_span(step), revision)
            if not await self._carried_out(lease_name, term, when=[unwritten], then=puts):
                return keys[:start]
        return keys

    async def _carried_out(self, lease_name: str, term: int, *, when: list[Message], then: list[Message]) -> bool:
        # False: something that was compared has changed, though not the term. Raises StaleTerm if that has.
        known, record = self._present.get(lease_name, (0, b""))
        if known != term:
            record = await self._look(lease_name, term)
        fence = holds(self._lease_keys(lease_name).record, record)
        if (await self._gateway.transact(when=[fence, *when], then=then)).succeeded:
            return True
        await self._look(lease_name, term)
        return False

    async def _look(self, lease_name: str, term: int) -> bytes:
        # Returns the record's value as it is now. Raises StaleTerm unless the term is the present one.
        keys = self._lease_keys(lease_name)
        found = await self._gateway.read(keys.record)
        record = keys.seen(found).lease_record(0.0)
        if not records.is_present(record, term):
            raise StaleTerm(records.stale_text(record, lease_name, term))
        value = found.kvs[0].value
        self._present[lease_name] = term, value
        return value

    def _claim(self, lease_name: str, stored: KeyValue) -> Claim:
        try:
            return stored_claims.decoded(runner_of(stored, self._folder("claims", lease_name)), stored.value)
        except ValueError as error:
            raise not_ours(stored, error) from error

    def _lease_keys(self, lease_name: str) -> LeaseKeys:
        return LeaseKeys(self._prefix, lease_name, _NOBODY)

    def _folder(self, what: str, lease_name: str) -> str:
        return f"{self._prefix}/{what}/{part(lease_name)}/"

    def _key(self, what: str, lease_name: str, runner: str) -> bytes:
        return f"{self._folder(what, lease_name)}{part(runner)}".encode()


def _span(keys: Sequence[bytes]) -> tuple[bytes, bytes]:
    # From the first up to the last of sorted keys, which it includes.
    return keys[0], keys[-1] + b"\0"


def _runner(claim: Claim) -> str:
    return claim.runner
