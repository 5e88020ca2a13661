"""Engines with one promise broken each. A torture that lets one of them pass has proved nothing."""

import math
from collections.abc import Generator
from contextlib import contextmanager

import msgspec
import trio

from conductor_jobs import records
from conductor_jobs.clocks import Instant
from conductor_jobs.election import Election
from conductor_jobs.lease import Holder
from conductor_jobs.records import LeaseRecord
from conductor_jobs.term import Doing, EndReason, LossReason, TermScope

_work = TermScope.work
_end = TermScope.end


def _slow_to_end() -> None:
    """Leave it to the lease task alone to end work whose lease is lost: no scope has a deadline of its own."""

    @contextmanager
    def work(self: TermScope, *doing: Doing, service: bool = False) -> Generator[trio.CancelScope, None, None]:
        with _work(self, *doing, service=service) as scope:
            scope.deadline = math.inf
            yield scope

    def confirm(self: TermScope, deadline: Instant) -> None:
        self.term._deadline = deadline

    _replace(TermScope, "work", work)
    _replace(TermScope, "confirm", confirm)


def _no_deadline() -> None:
    """Have work run on when its lease is lost: nor does the lease task end it."""

    def end(self: TermScope, reason: EndReason) -> None:
        if reason not in ("lease_expired", "lease_superseded"):
            _end(self, reason)

    _slow_to_end()
    _replace(TermScope, "end", end)


def _deaf() -> None:
    """Have the lease task take every answer to a renewal for a yes, however late it comes."""

    async def hold(self: Election, scope: TermScope) -> LossReason:
        candidate, timing = self.candidate, self.candidate.timing
        while True:
            await trio.sleep(timing.renew_interval)
            asked_at = candidate.clocks.now()
            if await candidate.ask(term=scope.term.number, patience=timing.store_timeout) is not None:
                scope.confirm(asked_at.after(timing.ttl - timing.margin))

    _replace(Election, "_hold", hold)


def _no_holder() -> None:
    """Have the store give the lease to whoever asks, and renew it for whoever names its term."""

    def campaign(record: LeaseRecord | None, holder: Holder, ttl: float, now: float) -> LeaseRecord:
        return LeaseRecord(holder, 1 if record is None else record.term + 1, ttl, now + ttl)

    def renew(record: LeaseRecord | None, holder: Holder, term: int, ttl: float, now: float) -> LeaseRecord | None:
        if record is None or record.term != term:
            return None
        return msgspec.structs.replace(record, ttl=ttl, expires_at=now + ttl)

    _replace(records, "campaign", campaign)
    _replace(records, "renew", renew)


def _replace(owner: object, name: str, by: object) -> None:
    setattr(owner, name, by)


BROKEN = {"slow-to-end": _slow_to_end, "no-deadline": _no_deadline, "deaf": _deaf, "no-holder": _no_holder}


def break_engine(name: str) -> None:
    """Break the engine of this process."""
    BROKEN[name]()
