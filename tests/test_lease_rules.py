"""The rules of a lease record, in any order of calls, over the memory and the SQLite store side by side (I3, I4).

Both count on the clock of one Trio run, which only the test moves, and must give the same answers.
"""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from trio.testing import MockClock

from conductor_jobs import Holder, LeaseGrant
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .strategies import fewer

TTL = 4.0
#: Two nodes, one of them in three of its lives.
HOLDERS = [Holder("alpha", "1"), Holder("alpha", "2"), Holder("alpha", "3"), Holder("beta", "1")]
NAMES = ["jobs", "jöbs\n"]


class OpenRun:
    """A Trio run in a thread of its own that lasts until closed, and takes calls from this one."""

    def __init__(self) -> None:
        self.clock = MockClock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._wait,), kwargs={"clock": self.clock})
        self._thread.start()
        self._ready.wait()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return trio.from_thread.run(function, *arguments, trio_token=self._token)

    def jump(self, seconds: float) -> None:
        trio.from_thread.run_sync(self.clock.jump, seconds, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._closed.set, trio_token=self._token)
        self._thread.join()

    async def _wait(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._closed = trio.Event()
        self._ready.set()
        await self._closed.wait()


class LeaseRules(RuleBasedStateMachine):
    """Campaigns, renewals, releases and time in any order; every answer is checked against the other store's."""

    def __init__(self) -> None:
        super().__init__()
        self._run = OpenRun()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._patch = patch("conductor_jobs.stores.sqlite_leases.boot_time", self._run.clock.current_time)
        self._patch.start()
        self._stores = (MemoryLeaseStore(), SQLiteLeaseStore(Path(self._folder.name) / "lease.db"))
        # What a third party could know: who was granted which term of which lease, and until when.
        self._granted: dict[str, list[tuple[Holder, int]]] = {name: [] for name in NAMES}
        self._until: dict[str, float] = dict.fromkeys(NAMES, 0.0)
        self._barred: set[tuple[str, Holder]] = set()

    def teardown(self) -> None:
        self._run.close()
        self._patch.stop()
        self._folder.cleanup()

    @initialize()
    def nobody_has_ever_held_it(self) -> None:
        """See that a renewal of what never was is refused by both, naming nobody."""
        grant = self._ask("jobs", HOLDERS[0], TTL, term=1)
        assert (grant.is_leader, grant.holder_id, grant.term) == (False, None, 0)

    @rule(name=st.sampled_from(NAMES), holder=st.sampled_from(HOLDERS), ttl=st.sampled_from([TTL, 1.5, 1000.0]))
    def campaign(self, name: str, holder: Holder, ttl: float) -> None:
        """Campaign: what is free, expired or one's own is taken, under the next number."""
        free = self._owner(name) in (None, holder) and (name, holder) not in self._barred
        grant = self._ask(name, holder, ttl, term=None)
        assert grant.is_leader == free
        if grant.is_leader:
            assert grant.term == len(self._granted[name]) + 1
            self._granted[name].append((holder, grant.term))
            self._until[name] = self._now + ttl

    @rule(name=st.sampled_from(NAMES), holder=st.sampled_from(HOLDERS), back=st.integers(-1, 3))
    def renew(self, name: str, holder: Holder, back: int) -> None:
        """Renew: only the very term that is held, by its own incarnation."""
        term = len(self._granted[name]) - back
        held = self._owner(name) == holder and back == 0 and (name, holder) not in self._barred
        grant = self._ask(name, holder, TTL, term=term)
        assert grant.is_leader == held
        if held:
            assert (grant.holder_id, grant.term, grant.expires_in) == (holder.node_id, term, TTL)
            self._until[name] = self._now + TTL

    @rule(name=st.sampled_from(NAMES), holder=st.sampled_from(HOLDERS))
    def release(self, name: str, holder: Holder) -> None:
        """Release: it frees what this incarnation holds, and bars it for ever."""
        held = self._owner(name) == holder
        answers = [self._run.call(store.release, name, holder) for store in self._stores]
        assert answers == [held, held]
        self._barred.add((name, holder))
        if held:
            self._until[name] = self._now

    @rule(seconds=st.sampled_from([0.25, 1.5, 2.0, TTL, 900.0]))
    def time_goes_by(self, seconds: float) -> None:
        """Let time go by, to the very moment of an expiry as well."""
        self._run.jump(seconds)

    @invariant()
    def one_term_at_the_most_can_be_renewed(self) -> None:
        """See that terms rose one by one; the renewals above show that no other than the last was confirmed."""
        for granted in self._granted.values():
            assert [term for _, term in granted] == list(range(1, len(granted) + 1))

    @property
    def _now(self) -> float:
        return self._run.clock.current_time()

    def _owner(self, name: str) -> Holder | None:
        return self._granted[name][-1][0] if self._granted[name] and self._now < self._until[name] else None

    def _ask(self, name: str, holder: Holder, ttl: float, *, term: int | None) -> LeaseGrant:
        memory, sqlite = self._stores
        first: LeaseGrant = self._run.call(lambda: memory.acquire(name, holder, ttl, term=term))
        second: LeaseGrant = self._run.call(lambda: sqlite.acquire(name, holder, ttl, term=term))
        for field in ("holder_id", "term", "is_leader", "operation", "expires_in"):
            assert getattr(first, field) == getattr(second, field), field
        # For display only: wall time is read twice.
        assert abs(first.lease_expires_at - second.lease_expires_at) < 60
        return first


TestLeaseRules = LeaseRules.TestCase
TestLeaseRules.settings = settings(fewer(by=3), stateful_step_count=30)
