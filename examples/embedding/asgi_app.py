"""Four asyncio workers, one of which runs the jobs: `uvicorn --workers 4 --lifespan on asgi_app:app`."""

import os
from typing import Any

import trio

from conductor_jobs import Conductor, LeaseTiming, TickContext, TimedJobs, run_in_thread
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

jobs = TimedJobs(interval=1.0)
conductor = Conductor(
    jobs,
    store=SQLiteLeaseStore("conductor.db"),
    timing=LeaseTiming(ttl=float(os.environ.get("LEASE_TTL", "30"))),
    log_dir="logs/timed-jobs",
)


@jobs.runner("report")
async def report(ctx: TickContext) -> None:
    """Run on the conductor's thread, in its Trio loop: what is awaited here is Trio's, never asyncio's."""
    await trio.sleep(0.8)
    ctx.log("reported", details={"fencing_token": ctx.term})


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Say who this worker is. A framework has a hook for what its lifespan does here."""
    if scope["type"] == "lifespan":
        await receive()  # lifespan.startup
        with run_in_thread(conductor):
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown, once the last request has been answered
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": conductor.status().leadership.encode()})
