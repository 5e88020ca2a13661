"""The registered runners, as answers: made at most twice a second, however many ask, and a few at a time.

To find out when a cron expression is due next takes a third of a millisecond: a thousand at once would hold up the
renewals.
"""

from contextlib import suppress
from typing import Final, final

import trio

from ..conductor import Conductor
from ..runner_status import RunnerStatus
from .answers import RunnerAnswer, RunnersAnswer
from .recent import Recent

_FRESH_FOR: Final = 0.5
_MOST_KEPT: Final = 8
_AT_ONCE: Final = 4
# A node that does not lead asks the store what the others have claimed and paused, no more often than that.
_ASK_EVERY: Final = 2.0
_PATIENCE: Final = 1.0


@final
class Registered:
    """Pages of the registered runners."""

    def __init__(self, conductor: Conductor, recent: Recent) -> None:
        self._conductor = conductor
        self._recent = recent
        self._making = trio.Lock()
        self._kept: dict[tuple[int, int], tuple[float, RunnersAnswer]] = {}
        self._asked_at: float | None = None

    def forget(self) -> None:
        """Make the next answer anew: a runner was paused or resumed."""
        # Another one, for the old one is that of a page that may just be made.
        self._kept = {}

    async def page(self, limit: int, offset: int) -> RunnersAnswer:
        """Return `limit` runners after the first `offset`, in the order of registration. Cancelling loses nothing."""
        async with self._making:
            kept = self._kept
            made_at, answer = kept.pop((limit, offset), (-_FRESH_FOR, None))
            if answer is None or trio.current_time() - made_at >= _FRESH_FOR:
                await self._ask()
                made_at, answer = trio.current_time(), await self._make(limit, offset)
            kept[limit, offset] = made_at, answer
            if len(kept) > _MOST_KEPT:
                del kept[next(iter(kept))]
            return answer

    async def _make(self, limit: int, offset: int) -> RunnersAnswer:
        names = self._conductor.jobs.runner_names
        wanted = names[offset : offset + limit]
        answers: list[RunnerAnswer] = []
        for start in range(0, len(wanted), _AT_ONCE):
            statuses = self._conductor.runner_statuses(wanted[start : start + _AT_ONCE])
            answers += [self._answer(status) for status in statuses]
            await trio.lowlevel.checkpoint()
        return RunnersAnswer(answers, len(names))

    def _answer(self, status: RunnerStatus) -> RunnerAnswer:
        return RunnerAnswer(
            name=status.name,
            description=status.description,
            timeout=status.timeout,
            schedule=status.schedule,
            tz=status.tz,
            misfire=status.misfire,
            on_crash=status.on_crash,
            paused=status.paused,
            at_work=status.at_work,
            next_due_at=status.next_due_at,
            last_claim=status.last_claim,
            runs=self._recent.runs(status.name),
        )

    async def _ask(self) -> None:
        conductor, now = self._conductor, trio.current_time()
        asked_lately = self._asked_at is not None and now - self._asked_at < _ASK_EVERY
        if asked_lately or not conductor.started or conductor.leadership.value is not None:
            return
        self._asked_at = now
        # Of a store that fails, what it said last stands; the status says that it fails.
        with trio.move_on_after(_PATIENCE), suppress(Exception):
            await conductor.refresh()
