"""A WSGI app with timed jobs: `gunicorn -c gunicorn_conf.py wsgi_app:app`; the other file starts the conductor."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import trio

from conductor_jobs import Conductor, LeaseTiming, TickContext, TimedJobs
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

jobs = TimedJobs(interval=1.0)
# Constructing starts nothing, so this may be imported before the fork (`--preload`) as well as after it.
conductor = Conductor(
    jobs,
    store=SQLiteLeaseStore("conductor.db"),
    timing=LeaseTiming(ttl=float(os.environ.get("LEASE_TTL", "30"))),
    log_dir="logs/timed-jobs",
)


@jobs.runner("report")
async def report(ctx: TickContext) -> None:
    """Run on the conductor's thread, in its Trio loop, while the worker answers requests."""
    await trio.sleep(0.8)
    ctx.log("reported", details={"fencing_token": ctx.term})


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Say who answers at this path."""
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"{environ['PATH_INFO']} {conductor.status().leadership}".encode()]
