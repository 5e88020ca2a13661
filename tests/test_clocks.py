"""Trio's clock beside one that counts suspend, and leases whose clock is gone (I4, I11)."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import clocks
from conductor_jobs.clocks import Clocks, Instant, boot_clock_domain, boot_time
from conductor_jobs.errors import LeaseLost
from conductor_jobs.lease import Holder
from conductor_jobs.stores import sqlite_leases
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.term import Term

ASK_ANOTHER_PROCESS = "from conductor_jobs.clocks import *; print(boot_clock_domain()); print(boot_time())"
ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Suspendable:
    """A clock that counts suspend, beside Trio's, which does not."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_all_processes_of_the_host_read_one_boot_clock_in_one_domain() -> None:
    before = boot_time()
    command = [sys.executable, "-c", ASK_ANOTHER_PROCESS]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0] == boot_clock_domain()
    assert before <= float(told[1]) <= boot_time()


@linux_only
def test_the_boot_clock_counts_from_boot_and_not_from_any_date() -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert uptime - 0.02 <= boot_time() < uptime + 5
    assert abs(boot_time() - time.time()) > 1e6


@linux_only
def test_the_clock_domain_names_the_boot_and_the_time_namespace() -> None:
    boot, _, namespace = boot_clock_domain().partition("/")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert namespace.startswith("time")


@linux_only
def test_the_clock_domain_is_asked_of_the_system_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As after a checkpoint that is restored in another boot, and on a kernel without time namespaces.
    boot_id = tmp_path / "boot_id"
    monkeypatch.setattr(clocks, "_BOOT_ID", boot_id)
    boot_id.write_text("this-boot\n")
    before = boot_clock_domain()
    assert before.startswith("this-boot/time")
    boot_id.write_text("the-next-boot\n")
    assert boot_clock_domain() == before.replace("this-boot", "the-next-boot")
    monkeypatch.setattr(clocks, "_TIME_NAMESPACE", tmp_path / "none")
    assert boot_clock_domain() == "the-next-boot/time"


def test_on_a_platform_that_names_no_boot_the_error_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(RuntimeError, match="known for win32"):
        boot_clock_domain()


def test_an_instant_moves_on_both_clocks() -> None:
    assert Instant(trio=1.0, boot=50.0).after(2.5) == Instant(trio=3.5, boot=52.5)


async def test_now_reads_both_clocks(autojump_clock: MockClock) -> None:
    clocks = Clocks(autojump_clock, Suspendable(7000.0))
    await trio.sleep(4)
    assert clocks.now() == Instant(trio=4.0, boot=7000.0)


async def test_the_machines_clocks_keep_real_time_and_those_of_a_simulation_do_not() -> None:
    clock = trio.lowlevel.current_clock()
    assert Clocks(clock, boot_time).keep_real_time()
    assert not Clocks(clock, lambda: 0.0).keep_real_time()
    assert not any(Clocks(MockClock(rate), boot_time).keep_real_time() for rate in (0.0, 0.1, 10.0, 1000.0))


async def test_what_remains_shrinks_with_trios_clock(autojump_clock: MockClock) -> None:
    clocks = Clocks(autojump_clock, Suspendable(7000.0))
    deadline = clocks.now().after(10)
    await trio.sleep(4)
    assert clocks.remaining(deadline) == 6.0
    await trio.sleep(7)
    assert clocks.remaining(deadline) == -1.0


async def test_what_remains_shrinks_with_a_suspend_that_trios_clock_does_not_see(autojump_clock: MockClock) -> None:
    boot_clock = Suspendable(7000.0)
    clocks = Clocks(autojump_clock, boot_clock)
    deadline = clocks.now().after(10)
    boot_clock.now += 3600
    assert clocks.remaining(deadline) == -3590.0


@pytest.mark.parametrize("suspended", [False, True])
def test_a_term_is_over_once_either_clock_has_reached_its_deadline(suspended: bool) -> None:
    trio_clock, boot_clock = MockClock(), Suspendable(7000.0)
    clocks = Clocks(trio_clock, boot_clock)
    term = Term(7, "jobs", ALPHA, clocks, clocks.now().after(9))
    for passed, remaining in ((8.5, 0.5), (0.5, 0.0)):
        term.check_lease()
        if suspended:
            boot_clock.now += passed
        else:
            trio_clock.jump(passed)
        assert term.lease_remaining() == remaining
    assert term.over == "lease_expired"
    with pytest.raises(LeaseLost, match="term 7 of lease 'jobs' is over: lease_expired"):
        term.check_lease()


async def test_both_clocks_may_be_read_from_a_thread() -> None:
    clocks = Clocks(trio.lowlevel.current_clock(), boot_time)
    deadline = clocks.now().after(1000)
    assert 0 < await trio.to_thread.run_sync(clocks.remaining, deadline) <= 1000


# By the numbers alone the lease would have expired in the first case, and last for half a day in the other.
@pytest.mark.parametrize("restart", [90_000.0, 5.0])
async def test_a_lease_of_another_boot_gets_its_whole_ttl_again_and_is_not_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: float
) -> None:
    boot_clock = Suspendable(50_000.0)
    monkeypatch.setattr(sqlite_leases, "boot_time", boot_clock)
    store = SQLiteLeaseStore(tmp_path / "lease.db")
    await store.acquire("jobs", ALPHA, 30.0)
    monkeypatch.setattr(sqlite_leases, "boot_clock_domain", lambda: "the next boot")
    told = []
    for passed in (0.0, 29.5, 30.0):
        boot_clock.now = restart + passed
        grant = await store.acquire("jobs", BETA, 40.0)
        told.append((grant.is_leader, grant.holder_id, grant.term, grant.expires_in))
    assert told == [(False, "alpha", 1, 30.0), (False, "alpha", 1, 0.5), (True, "beta", 2, 40.0)]


async def test_a_lease_released_in_another_boot_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteLeaseStore(tmp_path / "lease.db")
    await store.acquire("jobs", ALPHA, 30.0)
    await store.release("jobs", ALPHA)
    monkeypatch.setattr(sqlite_leases, "boot_clock_domain", lambda: "the next boot")
    assert not (await store.acquire("jobs", ALPHA, 30.0)).is_leader
    grant = await store.acquire("jobs", BETA, 30.0)
    assert (grant.is_leader, grant.term) == (True, 2)


async def test_a_holder_that_comes_into_another_time_namespace_keeps_its_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteLeaseStore(tmp_path / "lease.db")
    await store.acquire("jobs", ALPHA, 30.0)
    monkeypatch.setattr(sqlite_leases, "boot_clock_domain", lambda: "another namespace")
    grant = await store.acquire("jobs", ALPHA, 30.0, term=1)
    assert (grant.is_leader, grant.term) == (True, 1)
    assert await store.release("jobs", ALPHA) is True
