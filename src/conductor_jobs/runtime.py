"""What `conductor-jobs start` starts, in one order, and stops in the reverse, also when a step of it fails.

    local API listens -> journal folder made -> APP opened -> store opened -> conductor runs (drains)
        -> local API ends -> store closed -> APP closed

The local API answers from when the conductor stands by or leads until it has ended, so that the drain can be watched.
A signal until APP is open cancels what has begun; a second signal cancels the work, or an APP that does not close.
"""

from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, final

import trio

from .apps import App, opened
from .conductor import Conductor
from .config import Config
from .errors import Unusable
from .failures import error_text
from .journal import Journal
from .journal_folders import in_folder
from .lease import LeaseStore
from .service_manager import ServiceManager, keep_informed
from .signals import run_until_signalled
from .stderr import tell
from .stores import open_store
from .tick_results import TickResult
from .watchdog import OnOverrun

if TYPE_CHECKING:
    from .local_api.serving import LocalServer


@final
class Runtime:
    """One start of an APP under a configuration. `announce` is told the conductor just before it runs."""

    def __init__(
        self,
        app: App,
        config: Config,
        journal: Journal | None,
        announce: Callable[[Conductor, LeaseStore], None],
        on_overrun: OnOverrun = "report",
        manager: ServiceManager | None = None,
    ) -> None:
        self._app = app
        self._config = config
        self._journal = journal
        self._announce = announce
        self._on_overrun: OnOverrun = on_overrun
        self._manager = manager or ServiceManager(None)
        # Around APP as a whole: a nursery that APP opens outlives its opening.
        self._everything = trio.CancelScope()
        self._app_is_open = False
        self._stop_requested = False
        self._conductor: Conductor | None = None
        #: Why there was no success, in words, once `run` has returned False.
        self.problem: str | None = None

    async def run(self, *, once: bool) -> bool:
        """Run until signalled, or have one tick with `once`; return whether that tick succeeded, or was another's.

        Raises what a step of the start or the stop raises, and KeyboardInterrupt after a second signal.
        """
        patience = self._config.timing.patience
        await run_until_signalled(lambda: self._run(once), self._request_stop, self._cancel_work, patience)
        return self.problem is None

    async def _run(self, once: bool) -> None:
        if once:
            self.problem = "stopped before the tick"
        with self._everything:
            async with AsyncExitStack() as stack:
                local_api = None if once else await self._listen(stack)
                conductor = await self._open(stack, autostart=not once)
                if not self._stop_requested:
                    self._conductor = conductor
                    async with trio.open_nursery() as informing:
                        informing.start_soon(keep_informed, self._manager, conductor, self._config.timing.ttl)
                        await (self._run_once(conductor) if once else self._run_served(conductor, local_api))
                        informing.cancel_scope.cancel()

    async def _listen(self, stack: AsyncExitStack) -> "LocalServer | None":
        url: str | None = self._config["local_api"]
        if url is None:
            return None
        try:
            from .local_api.serving import listening

            return await stack.enter_async_context(listening(url, self._config["local_api_token"]))
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package == "conductor_jobs":
                raise
            raise Unusable(f"the local API needs {package}: pip install 'conductor-jobs[web]'.") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error_text(error)
            raise Unusable(f"local API {url}: {reason}") from error

    async def _run_served(self, conductor: Conductor, local_api: "LocalServer | None") -> None:
        if local_api is None:
            await conductor.run()
            return
        async with trio.open_nursery() as serving:
            async with trio.open_nursery() as running:
                await running.start(self._conduct, conductor)
                serving.start_soon(_serve, local_api, conductor)
            local_api.request_stop()

    async def _open(self, stack: AsyncExitStack, *, autostart: bool) -> Conductor:
        config = self._config
        log_dir = stack.enter_context(_made_folder(config.log_dir))
        jobs, resources = await stack.enter_async_context(opened(self._app))
        self._app_is_open = True
        jobs.configure(**config.jobs_changes())
        store = await stack.enter_async_context(open_store(config.store_url, token=config["shared_token"]))
        conductor = Conductor(
            jobs,
            store=store,
            lease_name=config["lease_name"],
            node=config.node,
            timing=config.timing,
            journal=self._journal,
            log_dir=log_dir,
            retention_days=config["retention_days"],
            resources=resources,
            autostart=autostart,
            drain_timeout=config["drain_timeout_sec"],
            renew_failure_threshold=config["renew_failure_threshold"],
            on_overrun=self._on_overrun,
        )
        self._announce(conductor, store)
        return conductor

    async def _conduct(
        self, conductor: Conductor, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        # Between the start of this task and its first step a signal may have come: there was nothing to stop yet.
        if self._stop_requested:
            task_status.started()
        else:
            await conductor.run(task_status=task_status)

    async def _run_once(self, conductor: Conductor) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._conduct, conductor)
            if self._stop_requested:
                return
            status = conductor.status()
            if status.holder_id is None:
                why = status.problem or "the lease store gave no answer"
                self.problem = f"nobody knows who leads, and nothing was run: {why}"
            else:
                tick = await conductor.run_tick()
                self.problem = _problem_of(tick)
                if tick.decision == "skipped_no_runners" and conductor.jobs.scheduled:
                    tell("conductor-jobs: nothing was run: each runner has a schedule, and --run-once keeps none")
            conductor.request_stop()

    def _request_stop(self) -> None:
        self._stop_requested = True
        if self._conductor is not None:
            self._conductor.request_stop()
        elif not self._app_is_open:
            self._everything.cancel()

    def _cancel_work(self) -> None:
        if self._conductor is not None and self._conductor.started:
            self._conductor.cancel_work()
        else:
            self._everything.cancel()


async def _serve(local_api: "LocalServer", conductor: Conductor) -> None:
    tell(f"conductor-jobs: local API at {', '.join(local_api.urls)}, {local_api.access}")
    try:
        await local_api.run(conductor)
    except Exception as error:  # noqa: BLE001 - the jobs go on without it
        tell(f"conductor-jobs: the local API has ended: {type(error).__name__}: {error_text(error)}")


def _problem_of(tick: TickResult) -> str | None:
    if tick.failed_runner_count:
        return f"{tick.failed_runner_count} of {tick.runner_count} runners failed, see the journal"
    if tick.decision in ("scheduled", "skipped_no_runners", "skipped_not_leader"):
        return None
    return f"the tick was {tick.decision}, see the journal"


@contextmanager
def _made_folder(folder: Path) -> Generator[Path, None, None]:
    # What a failed start made, and nobody wrote into, it takes away again.
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        in_folder(folder, lambda: None)
        yield folder
    except BaseException:
        for each in made:
            with suppress(OSError):
                each.rmdir()
        raise
