"""A Trio web server with timed jobs beside it: `python trio_web.py`; SIGTERM drains the tick in flight."""

import os
from typing import Any

import hypercorn.trio
import trio

from conductor_jobs import Conductor, TickContext, TimedJobs
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

jobs = TimedJobs(interval=1.5)
conductor = Conductor(jobs, store=SQLiteLeaseStore("conductor.db"), log_dir="logs/timed-jobs")
config = hypercorn.Config.from_mapping(bind=os.environ.get("BIND", "127.0.0.1:8000"))


@jobs.runner("report")
async def report(_: TickContext) -> None:
    """Take a second."""
    await trio.sleep(1.0)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Say who we are; the application of any framework that runs on Trio may stand here."""
    while scope["type"] == "lifespan":  # hypercorn breaks down when this returns
        await send({"type": (await receive())["type"] + ".complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": conductor.status().leadership.encode()})


async def main() -> None:
    """Run both. The conductor has the signals; the web server answers until the conductor has drained."""
    drained = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: hypercorn.trio.serve(app, config, shutdown_trigger=drained.wait))
        await conductor.run_until_signalled()
        drained.set()


trio.run(main)
