"""The command `conductor-jobs`: starts the runners of an APP, and says who it is and among whom it leads."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import trio

from ._version import __version__
from .apps import BadApp, load_jobs
from .conductor import Conductor
from .errors import Unusable
from .failures import sole_exception
from .lease import LeaseStore, Node
from .printing import JournalPrinter
from .signals import EXIT_CANCELLED
from .stores import open_store
from .timing import LeaseTiming

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2


class _Start(NamedTuple):
    conductor: Conductor
    introduction: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 failed while running, 2 bad input, 130 cancelled."""
    options = _parser().parse_args(arguments)
    descriptor = None if sys.stdout is None else sys.stdout.fileno()
    printer = None if descriptor is None else JournalPrinter(descriptor)
    try:
        start = _prepare(options, printer)
    except (BadApp, ValueError) as error:
        return _refuse(error)
    _say(start.introduction)
    try:
        return trio.run(_run_once if options.run_once else _run, start.conductor)
    except BaseException as error:  # noqa: BLE001 - every ending has its exit code
        return _exit_code(sole_exception(error))
    finally:
        _close(printer)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="conductor-jobs", description="Timed jobs that run on one leader at a time.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"conductor-jobs {__version__}")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    start = actions.add_parser("start", help="run the jobs of APP until stopped", allow_abbrev=False)
    start.add_argument("app", metavar="APP", help="package.module:jobs or file.py:jobs, a TimedJobs")
    start.add_argument("--run-once", action="store_true", help="learn who leads, have one tick, stop")
    start.add_argument("--store", metavar="URL", help="sqlite:///PATH or memory: (default: a file in the state dir)")
    start.add_argument("--logs-dir", metavar="PATH", type=Path, default=Path(".conductor/logs"))
    start.add_argument("--state-dir", metavar="PATH", type=Path, default=Path(".conductor/state"))
    start.add_argument("--lease-ttl-sec", metavar="INTEGER", type=_positive_integer, default=30)
    start.add_argument("--lease-renew-interval-ms", metavar="INTEGER", type=_positive_integer)
    start.add_argument("--timed-jobs-interval-ms", metavar="INTEGER", type=_positive_integer)
    start.epilog = "Environment: BAA_NODE_ID, BAA_CONDUCTOR_HOST. SIGTERM or SIGINT drains, a second one cancels."
    return parser


def _positive_integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def _prepare(options: argparse.Namespace, printer: JournalPrinter | None) -> _Start:
    renew_interval_ms: int | None = options.lease_renew_interval_ms
    timing = LeaseTiming(
        ttl=options.lease_ttl_sec,
        renew_interval=None if renew_interval_ms is None else renew_interval_ms / 1000,
    )
    node = Node(os.environ.get("BAA_NODE_ID") or None, os.environ.get("BAA_CONDUCTOR_HOST") or None)
    url: str = options.store or f"sqlite:///{options.state_dir / 'conductor.db'}"
    store = open_store(url)
    jobs = load_jobs(options.app)
    if options.timed_jobs_interval_ms is not None:
        jobs.configure(interval=options.timed_jobs_interval_ms / 1000)
    log_dir = options.logs_dir / "timed-jobs"
    conductor = Conductor(
        jobs,
        store=store,
        node=node,
        timing=timing,
        journal=printer,
        log_dir=log_dir,
        autostart=not options.run_once,
    )
    return _Start(conductor, _introduce(node, url, store, log_dir))


def _introduce(node: Node, url: str, store: LeaseStore, log_dir: Path) -> str:
    path: Path | None = getattr(store, "path", None)
    among = "this process alone" if path is None else f"one leader among the processes that open {path}"
    return f"node {node.node_id} on {node.host} ({node.role}); store {url}: {among}; journal in {log_dir}"


async def _run(conductor: Conductor) -> int:
    await conductor.run_until_signalled()
    return EXIT_OK


async def _run_once(conductor: Conductor) -> int:
    exit_code = EXIT_FAILED
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run_until_signalled)
        if conductor.status().holder_id is None:
            _say("the lease store gave no answer: nobody knows who leads, and nothing was run")
        else:
            tick = await conductor.run_tick()
            succeeded = tick.decision in ("scheduled", "skipped_no_runners") and not tick.failed_runner_count
            exit_code = EXIT_OK if succeeded or tick.decision == "skipped_not_leader" else EXIT_FAILED
        conductor.request_stop()
    return exit_code


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return EXIT_CANCELLED
    if isinstance(error, Unusable):
        return _refuse(error)
    traceback.print_exception(error)
    return EXIT_FAILED


def _refuse(error: Exception) -> int:
    if isinstance(error, BadApp) and error.__cause__ is not None and not isinstance(error.__cause__, ImportError):
        traceback.print_exception(error.__cause__)
    _say(str(error))
    return EXIT_BAD_INPUT


def _close(printer: JournalPrinter | None) -> None:
    if printer is not None:
        printer.close()
        if printer.dropped:
            _say(f"{printer.dropped} journal lines were not printed: nobody read them in time")


def _say(sentence: str) -> None:
    print(f"conductor-jobs: {sentence}", file=sys.stderr, flush=True)  # noqa: T201 - a command talks on stderr
