"""Work through the outbox's messages and end: `python examples/outbox [FOLDER]`.

Start it twice on one folder, and kill the one that leads: the other goes on with what is left. Without a folder
everything is kept in `.conductor/outbox`; delete it to begin anew.
"""

import argparse
import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import trio
from storage import Counts, Outbox, count, prepare

from conductor_jobs import Conductor, ConductorStatus, LeaseTiming
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from outbox import jobs

DEFAULT_FOLDER = ".conductor/outbox"
LOOK_EVERY = 0.25


def main(folder: Path) -> int:
    """Run to the end, or to a signal; return the exit code."""
    interrupted = False
    outbox = Outbox.in_folder(folder)
    written = prepare(outbox)
    print(f"{written} messages written to {folder}" if written else f"going on with the messages in {folder}")
    try:
        trio.run(work, folder, outbox)
    except* KeyboardInterrupt:  # a second Ctrl-C does not wait for the tick in flight
        interrupted = True
    print(f"{summary(outbox)}; journal: {folder / 'journal'}")
    return 130 if interrupted else 0


async def work(folder: Path, outbox: Outbox) -> None:
    """Lead or stand by until everything is delivered, by whichever process."""
    conductor = Conductor(
        jobs,
        store=SQLiteLeaseStore(folder / "lease.db"),
        timing=LeaseTiming(ttl=3.0),  # short, so that a kill is soon made good
        log_dir=folder / "journal",
        resources=outbox,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run_until_signalled)
        await report_until_delivered(conductor, outbox)
        conductor.request_stop()


async def report_until_delivered(conductor: Conductor, outbox: Outbox) -> None:
    """Print how things stand whenever that has changed; returns early when a signal has stopped the conductor."""
    printed = ""
    while conductor.started:
        counts = await look(outbox)
        if counts is not None and (line := progress(conductor.status(), counts)) != printed:
            print(line, flush=True)
            printed = line
        if counts is not None and counts.delivered == counts.messages:
            return
        await trio.sleep(LOOK_EVERY)


async def look(outbox: Outbox) -> Counts | None:
    """Return how far the work has come; None when nobody can tell, for a process is frozen in a transaction."""
    try:
        return await trio.to_thread.run_sync(count, outbox)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        return None


def progress(status: ConductorStatus, counts: Counts) -> str:
    """Say in one line who leads and how far the work has come."""
    name, holder = status.node.node_id, status.holder_id
    if status.leadership == "leader":
        who = f"{name} leads, term {status.term}"
    else:
        # The holder is as of the store's last answer: we ourselves, just after a lease was lost.
        who = f"{name} stands by" if holder in (None, name) else f"{name} stands by for {holder}"
    return f"{who}: delivered {counts.delivered} of {counts.messages}"


def summary(outbox: Outbox) -> str:
    """Say what has become of the messages, by what the sink has received."""
    received = Counter(json.loads(line)["task"] for line in sink_lines(outbox))
    repeated = sum(times > 1 for times in received.values())
    how = f"{repeated} of them again by a later term (see outbox.deliver)" if repeated else "each once"
    counts = count(outbox)
    return f"{counts.messages} messages, {counts.tasks} tasks, {len(received)} delivered, {how}"


def sink_lines(outbox: Outbox) -> list[str]:
    """Return the deliveries, if there are any yet."""
    return outbox.sink.read_text(encoding="utf-8").splitlines() if outbox.sink.exists() else []


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="outbox", description="Work through the outbox's messages, and end.")
    arguments.add_argument("folder", nargs="?", default=DEFAULT_FOLDER, type=Path, help="where all is kept")
    sys.exit(main(arguments.parse_args().folder))
