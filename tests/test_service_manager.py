"""What a service manager is told: by a conductor on virtual time, and by real processes on a real socket."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from conductor_jobs import service_manager as module
from conductor_jobs.service_manager import ServiceManager, keep_informed, service_manager, status_words
from conductor_jobs.stores.memory import MemoryLeaseStore

from .processes import PATIENCE, started
from .support import NodeStore, clings_for, make_conductor, make_jobs

APP = """
import contextlib, os, pathlib, subprocess, sys, time
import trio
from conductor_jobs import TimedJobs

seen = {name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG"))}
pathlib.Path("seen").write_text(repr(sorted(seen)))
jobs = TimedJobs(interval=3600)
blocking = TimedJobs(interval=0.3)
ending = TimedJobs(interval=0.05)

@jobs.runner("slow")
async def slow(ctx):
    await trio.sleep(1)

@blocking.runner("blocks")
async def blocks(ctx):
    ctx.log("blocking")
    while not pathlib.Path("go").exists():
        time.sleep(0.01)

@ending.runner("fine")
async def fine(ctx):
    pass
"""


class Listener:
    """The other end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self._lines: list[str] = []

    def told(self) -> list[str]:
        """What has come since the last time, line by line."""
        self._receive()
        lines, self._lines = self._lines, []
        return lines

    async def keep_receiving(self) -> None:
        """Receive, for few datagrams fit into the socket."""
        while True:
            self._receive()
            await trio.sleep(0.01)

    def wait_for(self, line: str) -> list[str]:
        """What comes until that line does, which it must."""
        deadline = time.monotonic() + PATIENCE
        while line not in self._lines:
            assert time.monotonic() < deadline, self._lines
            time.sleep(0.005)
            self._receive()
        end = self._lines.index(line) + 1
        before, self._lines = self._lines[:end], self._lines[end:]
        return before

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._lines += self._socket.recv(4096).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Listener, None, None]:
    listener = Listener(f"{tmp_path}/n" if request.param == "path" else f"@conductor-jobs-test-{os.getpid()}")
    yield listener
    listener.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def run_informed(
    listener: Listener,
    manager: ServiceManager,
    store: NodeStore,
    during: Callable[[], object],
    *,
    seconds: float,
    stop: bool = True,
) -> None:
    async def slow(ctx: object) -> None:
        await trio.sleep(2)

    conductor, _ = make_conductor(make_jobs(slow, interval=1000.0), store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.keep_receiving)
        nursery.start_soon(keep_informed, manager, conductor, 30.0)
        await nursery.start(conductor.run)
        await trio.sleep(1)
        during()
        await trio.sleep(seconds)
        if stop:
            nursery.start_soon(conductor.run_tick)
            await trio.lowlevel.checkpoint()
            await conductor.stop()
        nursery.cancel_scope.cancel()


async def test_it_hears_of_the_beginning_of_who_leads_and_of_the_stop(
    listener: Listener, autojump_clock: MockClock
) -> None:
    manager = ServiceManager(listener.address)
    begun: list[str] = []
    await run_informed(
        listener, manager, NodeStore(MemoryLeaseStore()), lambda: begun.extend(listener.told()), seconds=60
    )
    assert begun == ["STATUS=starting", "READY=1", "STATUS=leader of term 1"]
    assert listener.told() == ["STOPPING=1", "STATUS=stopping"]
    manager.close()


async def test_one_that_is_told_to_stop_at_once_is_ready_before_it_stops(
    listener: Listener, autojump_clock: MockClock
) -> None:
    manager = ServiceManager(listener.address)
    conductor, _ = make_conductor(make_jobs(clings_for(2)), autostart=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_informed, manager, conductor, 30.0)
        await nursery.start(conductor.run)
        nursery.start_soon(conductor.run_tick)
        await trio.sleep(0.1)
        await conductor.stop()
        nursery.cancel_scope.cancel()
    assert listener.told() == ["STATUS=starting", "READY=1", "STOPPING=1", "STATUS=stopping"]
    manager.close()


async def test_it_hears_that_the_store_fails_and_the_lease_is_lost(
    listener: Listener, autojump_clock: MockClock
) -> None:
    manager, store = ServiceManager(listener.address), NodeStore(MemoryLeaseStore())

    def fail() -> None:
        listener.told()
        store.error = OSError("no route")

    await run_informed(listener, manager, store, fail, seconds=60, stop=False)
    assert listener.told() == [
        "STATUS=leader of term 1; degraded: OSError: no route",
        "STATUS=standby; mini-main leads, term 1; degraded: OSError: no route",
        "STOPPING=1",
        "STATUS=stopping",
    ]
    manager.close()


async def test_a_sign_of_life_is_given_at_half_of_the_time_that_is_asked_for(
    listener: Listener, autojump_clock: MockClock
) -> None:
    for watchdog, least, most in ((10.0, 12, 13), (0.2, 600, 610)):
        manager = ServiceManager(listener.address, watchdog)
        await run_informed(listener, manager, NodeStore(MemoryLeaseStore()), listener.told, seconds=60, stop=False)
        assert least <= listener.told().count("WATCHDOG=1") <= most
        manager.close()


async def test_no_sign_of_life_is_given_while_the_lease_task_asks_nothing(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    conductor, _ = make_conductor(make_jobs())
    manager = ServiceManager(listener.address, 2.0)
    quiet_for = 0.0
    status = type(conductor).status

    def stuck(self: object) -> object:
        return msgspec.structs.replace(status(conductor), lease_task_quiet_for=quiet_for)

    monkeypatch.setattr(type(conductor), "status", stuck)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        nursery.start_soon(listener.keep_receiving)
        nursery.start_soon(keep_informed, manager, conductor, 30.0)
        await trio.sleep(10)
        for seconds, alive in ((29.0, True), (31.0, False), (1.0, True)):
            quiet_for = seconds
            await trio.sleep(5)
            listener.told()
            await trio.sleep(10)
            assert ("WATCHDOG=1" in listener.told()) == alive
        await conductor.stop()
        nursery.cancel_scope.cancel()
    manager.close()


async def test_signs_of_life_go_on_while_work_is_drained(listener: Listener, autojump_clock: MockClock) -> None:
    manager = ServiceManager(listener.address, 1.0)
    conductor, _ = make_conductor(make_jobs(clings_for(5)), drain_timeout=20.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.keep_receiving)
        nursery.start_soon(keep_informed, manager, conductor, 30.0)
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        nursery.start_soon(conductor.run_tick)
        await trio.sleep(1)
        listener.told()
        await conductor.stop()
        assert listener.told().count("WATCHDOG=1") >= 48
        nursery.cancel_scope.cancel()
    manager.close()


def test_a_real_process_tells_it_and_its_children_do_not(folder: Path, listener: Listener) -> None:
    with started(folder, "app.py:jobs", NOTIFY_SOCKET=listener.address, WATCHDOG_USEC="100000") as process:
        assert "STATUS=starting" in listener.wait_for("READY=1")
        assert listener.wait_for("STATUS=leader of term 1") == ["STATUS=leader of term 1"]
        for _ in range(3):
            listener.wait_for("WATCHDOG=1")
        assert (folder / "seen").read_text() == "[]"
        process.signal(signal.SIGTERM)
        listener.wait_for("STOPPING=1")
        assert process.wait() == 0
        assert process.stderr[-1].startswith("conductor-jobs: node ")


def test_a_loop_that_is_blocked_gives_no_sign_of_life(folder: Path, listener: Listener) -> None:
    with started(folder, "app.py:blocking", NOTIFY_SOCKET=listener.address, WATCHDOG_USEC="100000") as process:
        listener.wait_for("WATCHDOG=1")
        process.wait_for("blocking")
        listener.told()
        time.sleep(0.3)
        assert listener.told() == []
        (folder / "go").touch()
        process.wait_for("runner_completed")
        listener.wait_for("WATCHDOG=1")


def test_run_once_tells_it_too(folder: Path, listener: Listener) -> None:
    with started(folder, "app.py:ending", "--run-once", NOTIFY_SOCKET=listener.address) as process:
        assert process.wait() == 0
    assert listener.told()[-2:] == ["STOPPING=1", "STATUS=stopping"]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"NOTIFY_SOCKET": ""}, None),
        ({"WATCHDOG_USEC": "100000"}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, "NOTIFY_SOCKET is neither a path nor a name that begins with @"),
        ({"NOTIFY_SOCKET": "/nowhere/at/all"}, "the service manager cannot be told: No such file or directory"),
        ({"NOTIFY_SOCKET": "/" + "x" * 200}, "the service manager cannot be told: AF_UNIX path too long"),
    ],
)
def test_one_that_is_not_there_costs_nothing_but_a_line(
    folder: Path, variables: dict[str, str], told: str | None
) -> None:
    with started(folder, "app.py:ending", **variables) as process:
        process.wait_for("tick_completed")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert len(process.stderr) == (1 if told is None else 2)
        assert told is None or any(told in line for line in process.stderr)


@pytest.mark.parametrize(
    ("watchdog", "expected"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_variables_are_taken_away_and_understood(watchdog: dict[str, str], expected: float | None) -> None:
    variables = {"NOTIFY_SOCKET": "@x", "HOME": "/", **watchdog}
    manager = service_manager(variables)
    assert (manager.listens, manager.watchdog) == (True, expected)
    assert variables == {"HOME": "/"}
    manager.close()


async def test_what_cannot_be_sent_goes_with_the_next(listener: Listener) -> None:
    manager = ServiceManager(listener.address)
    count = 0
    while count < 100_000 and not manager._owed:
        manager.tell(STATUS=f"{count}")
        count += 1
    manager.tell(READY="1")
    manager.tell(STATUS="a\nb")
    told = listener.told()
    assert "READY=1" not in told
    manager.tell(WATCHDOG="1")
    assert listener.told() == ["STATUS=a b", "READY=1", "WATCHDOG=1"]
    manager.close()


def test_how_it_stands_is_told_in_a_line() -> None:
    conductor, _ = make_conductor(make_jobs())
    status = msgspec.structs.replace(conductor.status(), started=True, settled=True, term=3)
    assert status_words(conductor.status()) == "starting"
    assert status_words(status) == "standby; nobody is known to lead"
    assert status_words(msgspec.structs.replace(status, holder_id="beta")) == "standby; beta leads, term 3"
    assert status_words(msgspec.structs.replace(status, leadership="leader")) == "leader of term 3"
    assert module.LOOK_INTERVAL < 1
