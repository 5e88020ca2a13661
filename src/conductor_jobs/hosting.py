"""A conductor beside a program that is not Trio's: on a thread with a loop of its own."""

import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import trio

from .conductor import Conductor
from .failures import sole_exception


@contextmanager
def run_in_thread(conductor: Conductor) -> Generator[Conductor, None, None]:
    """Run the conductor on a thread while the block lasts; for asyncio and WSGI workers, in the worker itself.

    Entering waits until it stands by or leads, and raises what `Conductor.run` raises. Leaving requests the stop,
    blocks the calling thread for the drain, and raises what ended the conductor, if anything did. From outside the
    thread only `request_stop`, `status`, `started` and `leadership.value` may be used. A process that forks inside
    of the block gets a RuntimeError from the conductor in the child, where there is no such thread: enter the block
    after the fork. An interrupt while leaving waits for the drain cancels the work, as in `Conductor.run`.
    """
    started: Future[None] = Future()
    ended: Future[None] = Future()
    leaving = threading.Event()
    tokens: list[trio.lowlevel.TrioToken] = []
    arguments = (conductor, started, leaving, ended, tokens)
    thread = threading.Thread(target=_host, args=arguments, name="conductor-jobs", daemon=True)
    try:
        thread.start()
        started.result()
        yield conductor
    finally:
        # Whoever leaves before the start is done is heard by the thread, afterwards by the conductor.
        leaving.set()
        if started.done() and started.exception() is None:
            conductor.request_stop()
        if thread.ident is not None:
            _join(thread, conductor, tokens)
    ended.result()


def _join(thread: threading.Thread, conductor: Conductor, tokens: list[trio.lowlevel.TrioToken]) -> None:
    try:
        thread.join()
    except BaseException:
        # An interrupt while the drain is waited for: the work is cancelled and the lease released, as in `run`.
        for token in tokens:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(conductor.cancel_work)
        thread.join(conductor.patience)
        raise


def _host(
    conductor: Conductor,
    started: Future[None],
    leaving: threading.Event,
    ended: Future[None],
    tokens: list[trio.lowlevel.TrioToken],
) -> None:
    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            started.set_result(None)
            if leaving.is_set():
                conductor.request_stop()

    try:
        trio.run(main)
    except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for it
        (ended if started.done() else started).set_exception(sole_exception(error))
    else:
        ended.set_result(None)
