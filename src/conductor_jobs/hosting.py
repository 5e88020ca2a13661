"""A conductor beside a program that is not Trio's: on a thread with a loop of its own."""

import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import trio

from .conductor import Conductor
from .failures import shown, sole_exception


@contextmanager
def run_in_thread(conductor: Conductor) -> Generator[Conductor, None, None]:
    """Run the conductor on a thread while the block lasts; for asyncio and WSGI workers, in the worker itself.

    Entering waits until it stands by or leads, and raises what `Conductor.run` raises. Leaving requests the stop,
    blocks the calling thread for the drain, and raises what ended the conductor, if anything did; an interrupt
    meanwhile cancels the work, as in `Conductor.run`. From outside the
    thread only `request_stop`, `status`, `started` and `leadership.value` may be used. A process that forks inside
    of the block gets a RuntimeError from the conductor in the child, where there is no such thread: enter the block
    after the fork.
    """
    if not isinstance(conductor, Conductor):
        raise TypeError(f"run_in_thread conductor must be a Conductor, not {shown(conductor)}.")
    host = _Host(conductor)
    try:
        host.thread.start()
        host.started.result()
        yield conductor
    finally:
        host.leave()
    host.outcome.result()


class _Host:
    """The thread, and what passes between it and the one that waits for it."""

    def __init__(self, conductor: Conductor) -> None:
        self.conductor = conductor
        self.started: Future[None] = Future()
        self.outcome: Future[None] = Future()
        self._leaving = threading.Event()
        # Waited for in place of a join: one that an interrupt cut short takes the thread for ended, up to Python 3.12.
        self._ended = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self.thread = threading.Thread(target=self._run, name="conductor-jobs", daemon=True)

    def leave(self) -> None:
        """Request the stop and wait for it; an interrupt meanwhile cancels the work, as in `Conductor.run`."""
        try:
            # Whoever leaves before the start is done is heard by the thread, afterwards by the conductor.
            self._leaving.set()
            if self.started.done() and self.started.exception() is None:
                self.conductor.request_stop()
            if self.thread.ident is not None:
                self._ended.wait()
        except (KeyboardInterrupt, SystemExit):
            self._leaving.set()
            if self._token is not None:
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self.conductor.cancel_work)
            self._ended.wait(self.conductor.patience)
            raise

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for it
            (self.outcome if self.started.done() else self.started).set_exception(sole_exception(error))
        else:
            self.outcome.set_result(None)
        finally:
            self._ended.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            await nursery.start(self.conductor.run)
            self.started.set_result(None)
            if self._leaving.is_set():
                self.conductor.request_stop()
