"""An outbox: messages become tasks, tasks are delivered, by one process at a time however many are started.

    messages ──projector──> tasks ──dispatcher──> sink (a file, one line of JSON for each delivery)

Both runners are plain functions, for SQLite blocks: the conductor gives them a worker thread. A thread cannot be
cancelled when the lease is lost, so the term guards what it writes: the database keeps the latest term that wrote
to it, and every write compares the two in its own transaction (`storage.fenced`). A leader that was frozen,
replaced and thawed is refused with StaleTerm, whatever it believes. How far the projector has come is its cursor, which
the conductor keeps beside the lease, fenced in the same way.

`python examples/outbox` works through 300 messages and ends. `conductor-jobs start examples/outbox/outbox.py:jobs`
does the same work with data in `.conductor/outbox-jobs`, and goes on until it is stopped.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from storage import Outbox, connect, fenced, prepare

from conductor_jobs import RunnerResult, TickContext, TimedJobs

jobs = TimedJobs(interval=0.3, max_messages_per_tick=40, max_tasks_per_tick=40, settle_delay=1.0)


class Task(NamedTuple):
    """A message on its way out."""

    id: int
    message_id: int
    body: str


@jobs.runner("outbox.projector", description="turns settled messages into tasks")
def project(ctx: TickContext) -> RunnerResult:
    """Take up the messages after the cursor, but not before whoever wrote one had `settle_delay` to take it back."""
    settled_at = time.time() - ctx.settle_delay
    after = message_of(ctx.load_cursor_sync())
    with connect(outbox_of(ctx)) as database:
        latest, projected = project_settled(database, after, ctx.term, settled_at, ctx.max_messages_per_tick)
    # No transaction spans the two databases. The tasks come first, and the cursor after them: whoever is killed just
    # here, or never hears that the cursor was saved, leaves it behind the tasks and never ahead of them. No message is
    # missed, then, and those that are taken up again have their task already.
    if latest > after:
        ctx.save_cursor_sync(f"message:{latest}")
    ctx.log("scan_window", result="ok", details={"cursor": f"message:{latest}"})
    return RunnerResult(details={"projected_messages": projected})


@jobs.runner("outbox.dispatcher", description="delivers tasks to the sink")
def dispatch(ctx: TickContext) -> RunnerResult:
    """Deliver the oldest tasks that are left."""
    outbox = outbox_of(ctx)
    with connect(outbox) as database:
        tasks = claim_pending(database, ctx.term, ctx.max_tasks_per_tick)
        ctx.log("claim_tasks", result="ok", details={"task_ids": [task.id for task in tasks]})
        deliver(database, outbox.sink, tasks, ctx.term, ctx.check_lease)
    return RunnerResult(details={"delivered_tasks": len(tasks)})


def message_of(cursor: str | None) -> int:
    """Return the id of the last message that was taken up; 0, below any, when none was."""
    return 0 if cursor is None else int(cursor.removeprefix("message:"))


def project_settled(
    database: sqlite3.Connection, after: int, term: int, settled_at: float, limit: int
) -> tuple[int, int]:
    """Make tasks of the messages after one, created by `settled_at`; return the last of them and how many were made.

    May be repeated: a message has one task at the most, which is kept when it has been delivered.
    """
    with fenced(database, term):
        settled = settled_messages(database, after, settled_at, limit)
        query = "INSERT INTO tasks (message_id) VALUES (?) ON CONFLICT (message_id) DO NOTHING"
        made = database.executemany(query, [(message,) for message in settled]).rowcount if settled else 0
    return max(settled, default=after), made


def settled_messages(database: sqlite3.Connection, after: int, settled_at: float, limit: int) -> list[int]:
    """Return the ids that come next, up to the first that has not settled: the cursor must not pass it by."""
    query = "SELECT id, created_at FROM messages WHERE id > ? ORDER BY id LIMIT ?"
    upcoming = database.execute(query, (after, limit)).fetchall()
    return [message for message, _ in takewhile(lambda row: row[1] <= settled_at, upcoming)]


def claim_pending(database: sqlite3.Connection, term: int, limit: int) -> list[Task]:
    """Return the oldest tasks to deliver. From here on no older leader can mark any of them."""
    query = """
        SELECT tasks.id, message_id, body FROM tasks JOIN messages ON messages.id = message_id
        WHERE delivered_in_term IS NULL ORDER BY tasks.id LIMIT ?
    """
    with fenced(database, term):
        return [Task(*row) for row in database.execute(query, (limit,))]


def deliver(
    database: sqlite3.Connection, sink: Path, tasks: list[Task], term: int, check_lease: Callable[[], None]
) -> None:
    """Send each task and mark it, one by one, while the lease lasts."""
    for task in tasks:
        check_lease()
        send(sink, task, term)
        # No transaction spans the sink and the database. Whoever is killed just here, or frozen and replaced, has
        # sent one task that the next leader sends again: at least once. So a delivery carries its task's id, and
        # its term: a receiver that must act only once drops an id that it has seen.
        mark_delivered(database, task, term)


def send(sink: Path, task: Task, term: int) -> None:
    """Append the delivery to the sink, in one write."""
    line = json.dumps({"task": task.id, "message": task.message_id, "term": term, "body": task.body})
    with sink.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def mark_delivered(database: sqlite3.Connection, task: Task, term: int) -> None:
    """Note that the task has been sent."""
    with fenced(database, term):
        database.execute("UPDATE tasks SET delivered_in_term = ? WHERE id = ?", (term, task.id))


def outbox_of(ctx: TickContext) -> Outbox:
    """Return the outbox that the application handed to its conductor, or the default one."""
    given: Outbox | None = ctx.resources
    return given or default_outbox()


@cache
def default_outbox() -> Outbox:
    """Return the outbox for whoever starts `jobs` with the command, which hands over no resources."""
    outbox = Outbox.in_folder(Path(".conductor/outbox-jobs"))
    prepare(outbox)
    return outbox
