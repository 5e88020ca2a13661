"""What becomes of a runner that raised: it has failed, it was cancelled, or it is tried again."""

from typing import final

import trio

from .failures import error_text, split_failure
from .observers import ObservedTick, RunnerEnd, RunnerOutcome
from .recorder import Recorder
from .runners import Runner
from .term import Term


@final
class Attempts:
    """The runners of one tick that did not return: journals each, and says which are to be tried again."""

    def __init__(self, recorder: Recorder, batch_id: str) -> None:
        #: How many have failed, and how many have failed or were cancelled; not those that are tried again.
        self.failed: int = 0
        self.unsuccessful: int = 0
        #: Who is told beside the journal.
        self.observed: ObservedTick | None = None
        self._recorder = recorder
        self._batch_id = batch_id
        # The runner that is tried again, and how many attempts of it have failed.
        self._retried: Runner | None = None
        self._failed_attempts = 0

    def judge(self, runner: Runner, error: BaseException, began_at: float, term: Term) -> float | None:
        """Journal what became of a runner that raised `error`, after it began at `began_at` by Trio's clock.

        Returns the seconds to wait before it is tried again, None if it is not. Raises what is no failure of its.
        """
        now = trio.current_time()
        failure, rest = split_failure(error)
        # What the cleanup of a runner raises that was timed out is no news beside the timeout.
        if rest is None and runner.timeout is not None and now >= began_at + runner.timeout:
            failure = TimeoutError(f"timed out after {runner.timeout:g} s")
        # Once the term is over, what a runner's cleanup raises is part of its cancellation (I15).
        reason: str | None = term.over or ("cancelled" if failure is None else None)
        attempt = self._failed_attempts + 1 if runner is self._retried else 1
        pause = None if rest is not None or reason is not None else _pause(runner, failure, attempt)
        if pause is None:
            self.unsuccessful += 1
            self.failed += reason is None
        else:
            self._retried, self._failed_attempts = runner, attempt
        # At once: the pause may be long, and a kill may come in it.
        (self._recorder.add if pause is None else self._recorder.write)(
            runner.name,
            "runner_cancelled" if reason else "runner_failed" if pause is None else "runner_retrying",
            self._batch_id,
            result=reason or "failed",
            details=_details(runner, attempt, pause),
            duration_ms=round((now - began_at) * 1000),
            error=None if failure is None else error_text(failure),
        )
        if self.observed is not None:
            outcome: RunnerOutcome = "cancelled" if reason else "failed" if pause is None else "retrying"
            self.observed.runner_ended(RunnerEnd(runner.name, outcome, reason or "failed", failure))
        if rest is not None:
            raise rest from None
        return pause


def _pause(runner: Runner, failure: Exception | None, attempt: int) -> float | None:
    retry = runner.retry
    if retry is None or failure is None or not retry.is_worthwhile(failure, attempt):
        return None
    return retry.pause_after(attempt)


def _details(runner: Runner, attempt: int, pause: float | None) -> dict[str, object] | None:
    if runner.retry is None:
        return None
    details: dict[str, object] = {"attempt": attempt, "attempts": runner.retry.attempts}
    return details if pause is None else details | {"retry_in_ms": round(pause * 1000)}
