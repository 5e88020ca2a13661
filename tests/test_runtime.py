"""What a start starts, in its order, and that a failure at any step stops what was started, in the reverse."""

import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Self

import pytest
import trio

from conductor_jobs import Holder, LeaseStore, TickContext, TimedJobs, read_journal, runtime
from conductor_jobs.config import read_config
from conductor_jobs.errors import Unusable
from conductor_jobs.runtime import Runtime
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import WatchingNodeStore, make_jobs

STEPS = ["app opens", "store opens", "conductor asks the store", "runner", "store closes", "app closes"]


class Injected(Exception):
    """Fails a step."""


class Steps:
    """An APP and a store that note what happens to them, and fail at one step."""

    def __init__(self, failing: str | None) -> None:
        self.failing = failing
        self.seen: list[str] = []
        self.memory = MemoryLeaseStore()

    def note(self, step: str, error: type[Exception] = Injected) -> None:
        self.seen.append(step)
        if step == self.failing:
            raise error(step)

    @contextlib.asynccontextmanager
    async def app(self) -> AsyncGenerator[tuple[TimedJobs, Any], None]:
        self.note("app opens")
        try:
            yield make_jobs(self.runner, interval=0.01), self
        finally:
            self.note("app closes")

    async def runner(self, ctx: TickContext) -> None:
        self.seen.append("runner")
        os.kill(os.getpid(), signal.SIGTERM)
        if self.failing == "runner":
            raise SystemExit(4)
        await trio.sleep(0.01)

    def open_store(self, url: str, *, token: str | None) -> LeaseStore:
        return RecordedStore(self)


class RecordedStore(WatchingNodeStore):
    def __init__(self, steps: Steps) -> None:
        super().__init__(steps.memory)
        self.steps = steps

    async def __aenter__(self) -> Self:
        self.steps.note("store opens")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.steps.note("store closes")

    async def _before(self, call: str) -> None:
        if call == "campaign" and "conductor asks the store" not in self.steps.seen:
            self.steps.note("conductor asks the store", Unusable)
        await super()._before(call)


def start(steps: Steps, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    monkeypatch.setattr(runtime, "open_store", steps.open_store)
    config = read_config({"logs_dir": str(folder / "a" / "logs"), "state_dir": str(folder / "state")}, {})
    started = Runtime(steps.app(), config, None, lambda conductor, store: None)
    return lambda: trio.run(lambda: started.run(once=False))


def test_a_start_and_a_stop_go_through_their_steps_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(failing=None)
    assert start(steps, tmp_path, monkeypatch)()
    assert steps.seen == STEPS
    stages = [entry.stage for entry in read_journal(tmp_path / "a/logs/timed-jobs")]
    assert stages[0] == "started"
    assert "tick_completed" in stages
    assert stages[-3:] == ["leader_ended", "lease_released", "stopped"]


@pytest.mark.parametrize(
    ("failing", "error", "seen"),
    [
        ("app opens", Injected, STEPS[:1]),
        ("store opens", Injected, ["app opens", "store opens", "app closes"]),
        ("conductor asks the store", Unusable, [*STEPS[:3], "store closes", "app closes"]),
        ("runner", SystemExit, STEPS),
        ("store closes", Injected, STEPS),
        ("app closes", Injected, STEPS),
    ],
)
def test_a_failure_at_any_step_stops_what_was_started_and_rises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: type[BaseException], seen: list[str]
) -> None:
    steps = Steps(failing)
    with pytest.raises(error):
        start(steps, tmp_path, monkeypatch)()
    assert steps.seen == seen
    if "runner" not in seen and failing != "conductor asks the store":
        assert list(tmp_path.iterdir()) == [], "what nobody wrote into is taken away again"

    async def nobody_holds_the_lease() -> None:
        assert (await steps.memory.acquire("conductor", Holder("next", "1"), 30)).is_leader

    trio.run(nobody_holds_the_lease)


def test_a_folder_that_was_there_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(Injected):
        start(Steps("app opens"), tmp_path, monkeypatch)()
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_a_signal_while_app_opens_cancels_that_and_closes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(None)

    @contextlib.asynccontextmanager
    async def slow_app() -> AsyncGenerator[tuple[TimedJobs, Any], None]:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await trio.sleep_forever()
            yield TimedJobs(), None
        finally:
            steps.seen.append("cancelled")

    monkeypatch.setattr(steps, "app", slow_app)
    assert start(steps, tmp_path, monkeypatch)()
    assert steps.seen == ["cancelled"]


def test_a_signal_before_app_opens_leaves_it_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(None)

    async def listen_and_be_signalled(_: Runtime, __: contextlib.AsyncExitStack) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        # The address may be a name that is looked up for a while.
        await trio.sleep(0.05)

    monkeypatch.setattr(Runtime, "_listen", listen_and_be_signalled)
    assert start(steps, tmp_path, monkeypatch)()
    assert steps.seen == []
    assert list(tmp_path.iterdir()) == []


def test_a_signal_at_the_moment_that_the_conductor_starts_is_not_lost(tmp_path: Path) -> None:
    settings = {"logs_dir": str(tmp_path), "store": "memory:", "local_api": "http://127.0.0.1:0"}
    config = read_config(settings, {})

    @contextlib.asynccontextmanager
    async def signalled_app(checkpoints: int) -> AsyncGenerator[tuple[TimedJobs, Any], None]:
        os.kill(os.getpid(), signal.SIGTERM)
        # So that whoever obeys hears of it about when this node's tasks are started.
        for _ in range(checkpoints):
            await trio.lowlevel.cancel_shielded_checkpoint()
        yield TimedJobs(), None

    async def main(checkpoints: int) -> None:
        with trio.fail_after(5):
            await Runtime(signalled_app(checkpoints), config, None, lambda conductor, store: None).run(once=False)

    # Which of two tasks that are woken at once goes first, Trio leaves to chance.
    for checkpoints in [1, 2] * 10:
        trio.run(main, checkpoints)
