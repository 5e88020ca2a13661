"""The checker: judges a history by the invariants that `docs/design.md` numbers.

Each rule looks at the whole history and returns what breaks it. The deadlines that it judges by are worked out from
what was asked of the store and answered, not taken from the engine.
"""

from collections.abc import Callable, Iterator

from ..audit import JournalAudit
from ..violations import Violation
from . import rules_of_leases as leases
from . import rules_of_schedules as schedules
from . import rules_of_work as work
from .evidence import Evidence
from .history import History, Journaled
from .scenario import Scenario


def every_journal_adds_up(evidence: Evidence) -> Iterator[Violation]:
    """I3, I7, I12, I14, I15: the rules of `conductor-jobs verify`: every start has exactly one end, and so on."""
    audit = JournalAudit()
    for event in evidence.history.of(Journaled):
        audit.take(event.life, event.entry, f"{event.at:.6f}")
    yield from audit.close().violations


RULES: tuple[Callable[[Evidence], Iterator[Violation]], ...] = (
    work.nothing_past_the_deadline,
    work.terms_do_not_overlap,
    work.overrunning_is_reported,
    work.a_refusal_ends_the_term,
    work.released_after_the_work,
    work.renewed_while_at_work,
    work.one_tick_at_a_time,
    work.ticks_lie_on_a_grid,
    work.stops_end,
    work.a_standby_stops_as_a_standby,
    work.a_runners_error_is_its_own,
    schedules.runs_are_claimed_first,
    schedules.nothing_is_claimed_to_run_after_a_stop,
    schedules.claims_are_fenced,
    schedules.instants_are_run_once,
    schedules.what_was_left_is_told,
    schedules.paused_runners_are_not_claimed,
    schedules.every_instant_is_accounted_for,
    leases.the_store_keeps_the_lease,
    leases.each_term_is_led_once,
    leases.calls_are_given_up,
    leases.nobody_stays_out,
    leases.somebody_leads_again,
    leases.all_is_well_in_the_end,
    every_journal_adds_up,
)


def judge(scenario: Scenario, history: History) -> list[Violation]:
    """Return everything in the history that must not be, in the order of time."""
    evidence = Evidence(scenario, history)
    found = [each for rule in RULES for each in rule(evidence)]
    return sorted(found, key=lambda each: (float(each.at), each.rule, each.what))
