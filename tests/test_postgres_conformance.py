"""The PostgreSQL store on a real server keeps the public rules, and those of `records` in any order (I3, I4)."""

from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from conductor_jobs import Holder, LeaseGrant
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.postgres import PostgresLeaseStore
from conductor_jobs.testing import exercise_lease_store

from .strategies import fewer
from .test_lease_rules import HOLDERS, OpenRun

#: So long that what a test takes is nothing beside it.
TTL = 4000.0
NAMES = ["jobs", "jöbs\n"]
_machines = count(1)


async def test_the_store_keeps_every_rule(postgres_url: str) -> None:
    await exercise_lease_store(lambda: PostgresLeaseStore(postgres_url), ttl=0.5, prompt=20.0)


class Rules(RuleBasedStateMachine):
    """Calls in any order, each compared with the memory store's answer; time goes by as the rows are set back."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        url = self.url
        self._run = OpenRun()
        self._memory = MemoryLeaseStore()
        self._postgres = PostgresLeaseStore(url)
        self._run.call(self._postgres.__aenter__)
        self._run.call(self._postgres.nodes, "jobs")
        self._database = psycopg.connect(url, autocommit=True)
        self._suffix = f" of {next(_machines)}"
        self._latest: dict[str, int] = dict.fromkeys(NAMES, 0)

    def teardown(self) -> None:
        self._run.call(self._postgres.__aexit__)
        self._run.close()
        self._database.close()

    @rule(name=st.sampled_from(NAMES), holder=st.sampled_from(HOLDERS), ttl=st.sampled_from([TTL, 1500.0, 10.0**6]))
    def campaign(self, name: str, holder: Holder, ttl: float) -> None:
        self._ask(name, holder, ttl, term=None)

    @rule(name=st.sampled_from(NAMES), holder=st.sampled_from(HOLDERS), back=st.integers(-1, 3))
    def renew(self, name: str, holder: Holder, back: int) -> None:
        self._ask(name, holder, TTL, term=self._latest[name] - back)

    @rule(name=st.sampled_from(NAMES), holder=st.sampled_from(HOLDERS))
    def release(self, name: str, holder: Holder) -> None:
        freed = [self._run.call(store.release, name + self._suffix, holder) for store in self._stores]
        assert freed[0] == freed[1]

    @rule(seconds=st.sampled_from([250.0, 1500.0, 2000.0, TTL, 900_000.0]))
    def time_goes_by(self, seconds: float) -> None:
        self._run.jump(seconds)
        self._database.execute(
            "UPDATE conductor_jobs.lease SET expires_at = expires_at - make_interval(secs => %s) WHERE name LIKE %s",
            (seconds, f"%{self._suffix}"),
        )

    @property
    def _stores(self) -> tuple[Any, Any]:
        return self._memory, self._postgres

    def _ask(self, name: str, holder: Holder, ttl: float, *, term: int | None) -> None:
        expected, grant = (self._ask_one(store, name, holder, ttl, term) for store in self._stores)
        for field in ("holder_id", "term", "is_leader", "operation"):
            assert getattr(grant, field) == getattr(expected, field), field
        assert 0 <= expected.expires_in - grant.expires_in < 100
        assert abs((grant.lease_expires_at - grant.renewed_at) - (expected.lease_expires_at - expected.renewed_at)) < 1
        self._latest[name] = max(self._latest[name], grant.term)

    def _ask_one(self, store: Any, name: str, holder: Holder, ttl: float, term: int | None) -> LeaseGrant:
        grant: LeaseGrant = self._run.call(lambda: store.acquire(name + self._suffix, holder, ttl, term=term))
        return grant


def test_in_any_order_of_calls_it_answers_as_the_memory_store_does(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rules, "url", postgres_url, raising=False)
    run_state_machine_as_test(Rules, settings=settings(fewer(by=3), stateful_step_count=30))
