"""What POST does: a tick now, a runner paused, resumed or run, the lease given to another."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import trio
from starlette.responses import Response

from ..conductor import Conductor
from ..errors import ConductorStopped
from ..runner_records import keeps_pauses
from ..store_calls import problem_text
from ..tick_results import TickResult
from .outcomes import Done, RunAnswer, TickRefused
from .refusals import Refused, json_answer

#: Seconds for which a tick's end is waited for, if the request does not say.
DEFAULT_WAIT: Final = 30.0
LONGEST_WAIT: Final = 300.0
_WHY: Final = {
    "failed": "the tick failed, see the journal.",
    "interrupted": "the tick was interrupted, see the journal.",
    "skipped_busy": "a tick is at work already.",
    "skipped_no_runners": "no runners are registered for ticks.",
    "skipped_not_leader": "this node does not lead: ask the leader.",
    "skipped_stopping": "the conductor is stopping.",
}


@final
class Commands:
    """Each method carries out one request, and raises Refused. Cancelling stops the waiting; a tick goes on."""

    def __init__(self, conductor: Conductor, runners_changed: Callable[[], None]) -> None:
        """`runners_changed` is called when a runner was paused or resumed."""
        self._conductor = conductor
        self._runners_changed = runners_changed

    async def run_tick(self, wait: float) -> Response:
        """Have a tick of the plain runners now."""
        return await self._ticked(self._conductor.run_tick, wait)

    async def run_now(self, name: str, wait: float) -> Response:
        """Have one runner run now."""
        self._require_registered(name)
        return await self._ticked(lambda: self._conductor.run_now(name), wait)

    async def set_paused(self, name: str, paused: bool) -> Response:
        """Pause a runner on every node, or resume it."""
        self._require_registered(name)
        if not keeps_pauses(self._conductor.store):
            raise Refused(501, "not_supported", "the lease store remembers no pauses.")
        change = self._conductor.pause if paused else self._conductor.resume
        try:
            await self._done(lambda: change(name))
        except Refused:
            raise
        except Exception as error:
            raise Refused(503, "store_failed", f"the lease store failed: {problem_text(error)}.") from error
        self._runners_changed()
        return json_answer(Done())

    async def resign(self) -> Response:
        """Give the lease to another node, if this one holds it."""
        outcome = await self._done(self._conductor.resign)
        if outcome == "skipped_not_leader":
            raise Refused(409, outcome, _WHY[outcome])
        return json_answer(Done())

    async def _ticked(self, run: Callable[[], Awaitable[TickResult]], wait: float) -> Response:
        result: TickResult | None = None
        with trio.move_on_after(wait):
            result = await self._done(run)
        if result is None:
            return json_answer(RunAnswer(ended=False, tick=None), 202)
        if result.decision == "scheduled":
            return json_answer(RunAnswer(ended=True, tick=result))
        return json_answer(TickRefused(result.decision, _WHY[result.decision], result), 409)

    async def _done(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if not self._conductor.started:
            raise Refused(503, "not_running", "the conductor does not run.")
        try:
            return await call()
        except (RuntimeError, ConductorStopped) as error:
            raise Refused(503, "not_running", f"{error}.") from error

    def _require_registered(self, name: str) -> None:
        if name not in self._conductor.jobs.runner_names:
            raise Refused(404, "unknown_runner", "no runner of that name is registered here.")
