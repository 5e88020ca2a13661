"""Running until the process is told to end: the first signal drains, a second cancels."""

import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from .failures import sole_exception
from .stderr import tell

EXIT_CANCELLED = 130


_in_use = threading.Lock()


async def run_until_signalled(
    run: Callable[[], Awaitable[None]],
    request_stop: Callable[[], None],
    cancel_work: Callable[[], None],
    patience: float,
) -> None:
    """Await `run`; SIGTERM or SIGINT requests the stop, a second one cancels the work.

    Work that cannot be cancelled, such as a runner's thread, is given `patience` seconds after the second signal,
    enough for the cleanup of what can be cancelled and the release; then the process ends with exit code 130, and its
    lease expires. Raises KeyboardInterrupt when the work was cancelled in time, and RuntimeError outside of the main
    thread or while another call has the signals.
    """
    if not _in_use.acquire(blocking=False):
        raise RuntimeError(
            "another conductor of this process runs until signalled: `run` this one, and cancel it when the other ends"
        )
    failure: BaseException | None = None
    second = trio.Event()
    # Signals are obeyed until `run` has ended, also while a cancellation from outside is being drained.
    obedience = trio.CancelScope(shield=True)
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_obey, obedience, signals, request_stop, cancel_work, second, patience)
                try:
                    await run()
                finally:
                    obedience.cancel()
    except BaseExceptionGroup as group:
        failure = sole_exception(group)
    finally:
        _in_use.release()
    if failure is not None:
        raise failure
    if second.is_set():
        raise KeyboardInterrupt


async def _obey(
    obedience: trio.CancelScope,
    signals: AsyncIterator[int],
    request_stop: Callable[[], None],
    cancel_work: Callable[[], None],
    second: trio.Event,
    patience: float,
) -> None:
    with obedience:
        await anext(signals)
        request_stop()
        await anext(signals)
        second.set()
        cancel_work()
        with trio.move_on_after(patience):
            # Taken, or they would be delivered anew once nobody obeys any more.
            async for _ in signals:
                pass
        tell("conductor-jobs: ending with work left that cannot be cancelled")
        os._exit(EXIT_CANCELLED)
