"""A service that only the leader runs, here a TCP server: start `python leader_service.py` several times."""

import os

import trio

from conductor_jobs import Conductor, LeaseTiming, Term, TimedJobs
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

PORT = int(os.environ.get("PORT", "8000"))


async def serve(term: Term) -> None:
    """Tell whoever connects the number of the term; cancelled when the term ends or a stop begins."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(f"term {term.number}\n".encode())

    listeners = await trio.open_tcp_listeners(PORT, host="127.0.0.1")
    print(f"term {term.number} listens on {listeners[0].socket.getsockname()}", flush=True)
    await trio.serve_listeners(answer, listeners)


async def main() -> None:
    """Stand by, and serve in every term of this process, until a signal."""
    conductor = Conductor(
        TimedJobs(),  # jobs may be registered as well
        store=SQLiteLeaseStore("conductor.db"),
        timing=LeaseTiming(ttl=float(os.environ.get("LEASE_TTL", "30"))),
        log_dir="logs/timed-jobs",
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run_until_signalled)
        await conductor.run_while_leader(serve)


if __name__ == "__main__":
    trio.run(main)
