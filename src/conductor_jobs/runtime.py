"""What `conductor-jobs start` starts, in one order, and stops in the reverse, also when a step of it fails.

    journal folder made -> APP opened -> store opened -> conductor runs (drains) -> store closed -> APP closed

A signal that comes before the conductor runs cancels what is being opened.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import final

import trio

from .apps import App, opened
from .conductor import Conductor
from .config import Config
from .journal import Journal
from .journal_files import make_folder
from .lease import LeaseStore
from .signals import run_until_signalled
from .stores import open_store


@final
class Runtime:
    """One start of an APP under a configuration. `announce` is told the conductor just before it runs."""

    def __init__(
        self, app: App, config: Config, journal: Journal | None, announce: Callable[[Conductor, LeaseStore], None]
    ) -> None:
        self._app = app
        self._config = config
        self._journal = journal
        self._announce = announce
        self._startup = trio.CancelScope()
        self._conductor: Conductor | None = None
        self._succeeded = True

    async def run(self, *, once: bool) -> bool:
        """Run until signalled, or have one tick with `once`; return whether that tick succeeded, or was another's.

        Raises what a step of the start or the stop raises, and KeyboardInterrupt after a second signal.
        """
        timing = self._config.timing
        await run_until_signalled(
            lambda: self._run(once), self._request_stop, self._cancel_work, timing.margin + 2 * timing.store_timeout
        )
        return self._succeeded

    async def _run(self, once: bool) -> None:
        async with AsyncExitStack() as stack:
            with self._startup:
                self._conductor = await self._open(stack, autostart=not once)
            conductor = self._conductor
            if conductor is None:
                return
            await (self._run_once(conductor) if once else conductor.run())

    async def _open(self, stack: AsyncExitStack, *, autostart: bool) -> Conductor:
        config = self._config
        log_dir = stack.enter_context(_made_folder(Path(config["logs_dir"]) / "timed-jobs"))
        jobs, resources = await stack.enter_async_context(opened(self._app))
        jobs.configure(**config.jobs_changes())
        store = open_store(store_url(config))
        if isinstance(store, AbstractAsyncContextManager):
            await stack.enter_async_context(store)
        conductor = Conductor(
            jobs,
            store=store,
            node=config.node,
            timing=config.timing,
            journal=self._journal,
            log_dir=log_dir,
            resources=resources,
            autostart=autostart,
            renew_failure_threshold=config["renew_failure_threshold"],
        )
        self._announce(conductor, store)
        return conductor

    async def _run_once(self, conductor: Conductor) -> None:
        self._succeeded = False
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            if conductor.status().holder_id is not None:
                tick = await conductor.run_tick()
                done = tick.decision in ("scheduled", "skipped_no_runners", "skipped_not_leader")
                self._succeeded = done and not tick.failed_runner_count
            conductor.request_stop()

    def _request_stop(self) -> None:
        if self._conductor is None:
            self._startup.cancel()
        else:
            self._conductor.request_stop()

    def _cancel_work(self) -> None:
        if self._conductor is not None:
            self._conductor.cancel_work()


def store_url(config: Config) -> str:
    """Return the URL of the store: as given, or that of a file in the state dir."""
    given: str | None = config["store"]
    return given or f"sqlite:///{Path(config['state_dir']) / 'conductor.db'}"


@contextmanager
def _made_folder(folder: Path) -> Generator[Path, None, None]:
    # What a failed start made, and nobody wrote into, it takes away again.
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    make_folder(folder)
    try:
        yield folder
    except BaseException:
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise
