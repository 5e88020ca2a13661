"""What the journal is told of schedules: due instants not run, or not on time, and claims of earlier terms."""

from collections.abc import Iterable
from datetime import datetime
from typing import final

from .agenda import Due
from .misfires import Turn, missed_details
from .moments import iso
from .recorder import Recorder
from .runner_records import Claim
from .runners import Runner


@final
class ScheduleEntries:
    """The entries of one term about its schedules."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        # Of the runners that go through what they missed, up to which instant the journal knows of it.
        self._told: dict[str, datetime] = {}

    def missed(self, runner: Runner, due: Due, turn: Turn) -> None:
        """Tell of instants that were missed, or due in a pause; once for all that are run one by one."""
        told_until = self._told.get(due.name)
        if turn.due_at is not None and told_until is not None and told_until >= due.last:
            return
        self._told[due.name] = due.last
        details = missed_details(due, turn)
        if turn.due_at is None:
            self._recorder.write(due.name, "runner_skipped", result=turn.reason, details=details)
        else:
            self._recorder.write(due.name, "runner_misfired", result=runner.misfire, details=details)

    def claimed_before(self, due: Due, turn: Turn) -> None:
        """Tell of instants of which the store had a claim already."""
        self._recorder.write(due.name, "runner_skipped", result="claimed", details=missed_details(due, turn))

    def unknown(self, runner: Runner, claim: Claim) -> None:
        """Tell of a run of an earlier term that has no end."""
        details = {"due_at": iso(claim.due_at), "on_crash": runner.on_crash, "term": claim.term}
        self._recorder.write(runner.name, "run_unknown", result="unknown", details=details)

    def ahead(self, claim: Claim) -> None:
        """Tell of a claim that lies ahead of the wall clock, which is waited for."""
        details = {"due_at": iso(claim.due_at), "term": claim.term}
        self._recorder.write(claim.runner, "schedule_ahead", result="waiting", details=details)

    def not_kept(self, runners: Iterable[Runner]) -> None:
        """Tell of each runner once that the store keeps no claims."""
        # Refused at the start (see Conductor.run); these were registered later.
        for runner in runners:
            if runner.name not in self._told:
                self._told[runner.name] = self._recorder.now()
                problem = "the lease store keeps no claims, which a schedule needs"
                self._recorder.write(runner.name, "runner_skipped", result="failed", error=problem)
