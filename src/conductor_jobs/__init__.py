"""Timed jobs that run on one leader at a time, as one Trio nursery.

Every process registers the same runners; the processes agree through a lease on who leads; the leader runs the ticks.
The lease is the deadline of the cancel scope that the work runs in.

The package is laid out so that imports run one way, downwards in this list; a module imports only what stands
above it:

    errors, failures, stderr, seconds, clocks, violations
                            the exception types; what an exception means; telling a person; the rule for
                            seconds; Trio's clock beside one that counts suspend; what a checker says
    lease, timing, records, runner_records
                            what engine and stores agree on; how long to trust a lease; a lease record's rules;
                            claims, pauses and cursors
    moments, zones, cron_fields, schedules, agenda
                            due instants in text; wall clocks of time zones; cron expressions; when something is
                            due; what is due next, of many
    journal, journal_*, recorder, retention
                            entries; the format of a line; writing files, reading them back; how the engine writes;
                            how old files go
    audit_entries, audit_tally, audit_schedules, audit_terms, audit_ticks, audit_writer, audit, verify
                            the judge of journals; which files it is given
    stores/                 memory, sqlite, postgres, redis, etcd, http: each imported only by whoever uses it,
                            none by the engine
    term, leadership, leaders_work
                            a term, and the scope with a moving deadline that its work runs in; whoever waits for it;
                            work of an application's own
    stacks, watchdog        where work is, as lines; a thread that reports work which outlives its lease
    store_calls, drift, heartbeats, candidate, standby, resignation, election
                            one bounded store call; nodes that differ; signs of life; asking for the lease; waiting
                            for the moment to campaign; giving the lease back while running; the lease task:
                            campaign, hold, lose, release
    retry, threads, cursors, runners, registry
                            trying again; from a thread to the loop; how far a runner has come; what a runner is given
                            and returns; what an application registers
    tick_results, calls, timeouts, tick_entries, observers, surroundings, tracing, attempts, execution, ticks
                            how a tick ended; calling a runner; its timeout; what is journaled of it; who else is
                            told of it; what all ticks share; spans; what becomes of one that raised; one tick;
                            admission, the tick task and the interval grid
    misfires, schedule_entries, ledger, single_runs, scheduler
                            what becomes of what is due; what is journaled of that; claims and pauses, asked of the
                            store; runs of one runner each; the schedule task
    arguments, drain, supervisor, runner_status, status
                            what a conductor was given, and the plan of a run; how work is brought to its end; one
                            run: its nurseries and the order in which they end; what it tells of its runners, and
                            of itself
    signals, taken_leases, conductor, hosting
                            draining on a signal; one conductor of a process on a lease; what an application holds;
                            running it in a thread
    metric_tallies, metric_families, metrics
                            what metrics count, how they are told to Prometheus, for whoever scrapes; an extra
    testing/                for tests of your jobs: time, threads and contexts that a test controls
    http_serving/           what HTTP servers have in common; with an extra, but for the rule of an address
    rules, settings, config, settings_page
                            rules of values; the table of settings; what is read by it; the page that is made of it
    control_api/            a lease store served over HTTP, with an extra
    local_api/              how a conductor stands, over HTTP: status, events, commands; with an extra
    apps, service_manager, runtime
                            finding and opening an APP; telling systemd; what a start starts, in order
    since, durations, run_history
                            since when a journal is read; quantiles of many durations; what runs came to
    printing, terminal, verify_report, next_report, runners_report, log_lines, history_report, local_api_client
                            how the command prints journals, verdicts, due instants, runners, and what runs came to
    status_report, cli_settings, cli_store, cli_journals, cli_start, cli_config, cli_verify, cli_next, cli_nodes
                            how it prints a node; its settings and its store; its parts
    cli_runners, cli_status, cli_logs, cli_history, cli_control_api, cli
                            the command

`docs/design.md` in the source tree states the invariants (I1 …) that the comments refer to.
"""

from ._version import __version__
from .conductor import Conductor
from .errors import ConductorStopped, LeaseLost, StaleTerm
from .hosting import run_in_thread
from .journal import JournalEntry
from .journal_reader import read_journal
from .lease import Holder, LeaseGrant, LeaseStore, Node
from .registry import TimedJobs
from .retry import Retry
from .runner_status import RunnerStatus
from .runners import RunnerResult, TickContext, TickTrigger, TimedJobsConfig
from .schedules import Cron, Every
from .status import ConductorStatus
from .term import Term
from .tick_results import TickDecision, TickResult
from .timing import LeaseTiming

__all__ = [
    "Conductor",
    "ConductorStatus",
    "ConductorStopped",
    "Cron",
    "Every",
    "Holder",
    "JournalEntry",
    "LeaseGrant",
    "LeaseLost",
    "LeaseStore",
    "LeaseTiming",
    "Node",
    "Retry",
    "RunnerResult",
    "RunnerStatus",
    "StaleTerm",
    "Term",
    "TickContext",
    "TickDecision",
    "TickResult",
    "TickTrigger",
    "TimedJobs",
    "TimedJobsConfig",
    "__version__",
    "read_journal",
    "run_in_thread",
]
