"""Control-C meets the user's code and the wait in `run`, never the engine's own tasks halfway through something."""

import signal

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, Holder, JournalEntry, Node, TickContext
from conductor_jobs.lease import NodeState
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import ListJournal, WatchingNodeStore, make_conductor, make_jobs


class Interrupter:
    """Raises one SIGINT, in a task of that name, not before that time; notes whether the code there went on."""

    def __init__(self, task_name: str, not_before: float) -> None:
        self._task_name = task_name
        self._not_before = not_before
        self.raised_at: float | None = None
        self.went_on = False

    def __call__(self) -> None:
        task = trio.lowlevel.current_task()
        due = self.raised_at is None and trio.current_time() >= self._not_before
        if due and task.name.endswith(self._task_name):
            self.raised_at = trio.current_time()
            signal.raise_signal(signal.SIGINT)
            self.went_on = True


@pytest.mark.parametrize(
    ("task_name", "at"), [("Election.run", 15), ("Heartbeats.run", 15), ("serve", 15), ("keep_interval", 20)]
)
def test_an_interrupt_in_a_task_of_the_engine_lets_it_go_on_and_cancels_the_work_at_once(
    task_name: str, at: float
) -> None:
    interrupt = Interrupter(task_name, 12)

    class Store(WatchingNodeStore):
        async def heartbeat(
            self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
        ) -> None:
            interrupt()
            await super().heartbeat(lease_name, node, incarnation, state, fingerprint)

    def boot_clock() -> float:
        interrupt()
        return 0.0

    def wall_clock() -> float:
        # Also called by the recorder, which protects itself in whatever task.
        if task_name == "keep_interval":
            interrupt()
        return 0.0

    async def first(ctx: TickContext) -> None:
        await trio.sleep(5)

    async def second(ctx: TickContext) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        await conductor.run()

    memory = MemoryLeaseStore()
    clock = MockClock(autojump_threshold=0)
    conductor, journal = make_conductor(
        make_jobs(first, second, interval=10), Store(memory), boot_clock=boot_clock, wall_clock=wall_clock
    )
    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=clock)
    assert (interrupt.raised_at, interrupt.went_on) == (at, True)
    assert clock.current_time() == at
    assert journal.one("tick_interrupted").result == "cancelled"
    assert journal.stages()[-3:] == ["leader_ended", "lease_released", "stopped"]
    assert trio.run(memory.acquire, "conductor", Holder("other", "1"), 30).is_leader


def test_an_interrupt_while_a_runner_logs_loses_no_entry() -> None:
    class Journal(ListJournal):
        def add(self, entry: JournalEntry) -> None:
            if entry.stage == "half":
                signal.raise_signal(signal.SIGINT)
            super().add(entry)

        def flush(self) -> None:
            if self._added and self._added[-1].stage == "whole":
                signal.raise_signal(signal.SIGINT)
            super().flush()

    async def logs(ctx: TickContext) -> None:
        ctx.log(stage)
        await trio.sleep_forever()

    for stage in ("half", "whole"):
        journal = Journal()
        conductor = Conductor(make_jobs(logs), store=MemoryLeaseStore(), journal=journal)
        with pytest.raises(KeyboardInterrupt):
            trio.run(conductor.run, clock=MockClock(autojump_threshold=0))
        assert journal.stages(of="logs") == ["runner_started", stage, "runner_cancelled"]
        assert journal.stages()[-1] == "stopped"


def test_an_interrupt_in_a_runner_stops_its_code_where_it_is() -> None:
    went_on: list[str] = []

    async def computes(ctx: TickContext) -> None:
        signal.raise_signal(signal.SIGINT)
        went_on.append("computes")

    conductor, journal = make_conductor(make_jobs(computes), MemoryLeaseStore())
    with pytest.raises(KeyboardInterrupt):
        trio.run(conductor.run, clock=MockClock(autojump_threshold=0))
    assert went_on == []
    assert journal.one("runner_cancelled").result == "cancelled"
    assert journal.stages()[-3:] == ["leader_ended", "lease_released", "stopped"]
