"""The command `conductor-jobs start`: runs an APP, and says who the node is and among whom it leads."""

import os
import sys

import click
import trio

from .apps import load_app
from .cli_settings import complete_files, configured, settings_as_flags
from .conductor import Conductor
from .config import Config
from .failures import sole_exception
from .lease import LeaseStore
from .printing import JournalPrinter, printed, wants_colour
from .registry import TimedJobs
from .runtime import Runtime
from .service_manager import service_manager
from .stderr import tell
from .stores.urls import shown_url
from .terminal import person_line
from .watchdog import EXIT_OVERRUN

_SUCCEEDED, _FAILED = 0, 1


@click.command("start")
@click.argument("app", required=False, metavar="[APP]", shell_complete=complete_files)
@click.option("--run-once", is_flag=True, help="learn who leads, have one tick of the runners without a schedule, stop")
@click.option(
    "--exit-on-overrun",
    is_flag=True,
    help=f"end at once, with exit code {EXIT_OVERRUN}, when a job is still at work after its lease has run out",
)
@click.option("--quiet", is_flag=True, help="do not print the journal")
@settings_as_flags()
def start_command(app: str | None, run_once: bool, exit_on_overrun: bool, quiet: bool, **flags: str | None) -> int:
    """Run the jobs of APP until SIGTERM or SIGINT, which drains; a second signal cancels.

    APP is package.module:name or file.py:name: a TimedJobs, a function that returns one, or an async context manager
    that yields (jobs, resources). Without APP it only takes part in the election, with no runners.
    """
    # Before anything of APP's can start a child.
    manager = service_manager(os.environ)
    config = configured(flags)
    loaded = TimedJobs() if app is None else load_app(app)
    printer = None if quiet else _printer()
    try:
        runtime = Runtime(
            loaded,
            config,
            printer,
            lambda conductor, store: _introduce(config, conductor, store),
            "exit" if exit_on_overrun else "report",
            manager,
        )
        succeeded = trio.run(lambda: runtime.run(once=run_once))
    except BaseException as error:
        if not isinstance(sole_exception(error), SystemExit):
            raise
        # A job that exits ends the service as a failure, or nobody would start it again.
        _say("ended by a SystemExit, see the journal")
        return _FAILED
    finally:
        manager.close()
        _close(printer)
    if succeeded:
        return _SUCCEEDED
    _say(str(runtime.problem))
    return _FAILED


def _introduce(config: Config, conductor: Conductor, store: LeaseStore) -> None:
    node = conductor.status().node
    who = f"node {node.node_id} on {node.host} ({node.role})"
    where = f"lease {config['lease_name']} in store {shown_url(config.store_url)}"
    _say(f"{who}; {where}: {_among(config, store)}; journal in {config.log_dir}")
    if config["public_api_base"] not in (None, config.store_url):
        why = "without a shared token" if config["store"] is None else "beside --store"
        _say(f"warning: the public API base is not used {why}")


def _among(config: Config, store: LeaseStore) -> str:
    path = getattr(store, "path", None)
    if path is not None:
        return f"one leader among the processes that open {path}"
    return "this process alone" if config.store_url == "memory:" else "one leader among the processes that use it"


def _printer() -> JournalPrinter | None:
    if sys.stdout is None:
        return None
    if sys.stdout.isatty():
        coloured = wants_colour(sys.stdout)
        return JournalPrinter(sys.stdout.fileno(), lambda entry: printed(person_line(entry), coloured=coloured))
    return JournalPrinter(sys.stdout.fileno())


def _close(printer: JournalPrinter | None) -> None:
    if printer is not None:
        printer.close()
        # A reader that has gone away, as `head` does, is no loss to anybody.
        if printer.dropped and not isinstance(printer.problem, BrokenPipeError):
            reason = "nobody read them in time" if printer.problem is None else printer.problem.strerror
            _say(f"{printer.dropped} journal lines were not printed: {reason}")


def _say(sentence: str) -> None:
    tell(f"conductor-jobs: {sentence}")
