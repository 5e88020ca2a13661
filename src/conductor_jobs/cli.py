"""The command `conductor-jobs`: reads settings, starts an APP, and says who it is and among whom it leads."""

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click
import trio

from ._version import __version__
from .apps import App, BadApp, load_app, opened
from .cli_control_api import control_api_command
from .cli_history import history_command
from .cli_logs import logs_command
from .cli_next import next_command
from .cli_nodes import nodes_command
from .cli_runners import runners_command
from .cli_settings import complete_files, settings_as_flags
from .cli_status import status_command
from .cli_verify import verify_command
from .conductor import Conductor
from .config import BadSettings, Config, read_config, unknown_variables
from .errors import Unusable
from .failures import sole_exception
from .lease import LeaseStore
from .printing import JournalPrinter, printed, wants_colour
from .registry import TimedJobs
from .runtime import Runtime
from .service_manager import service_manager
from .settings import NOT_CONFIGURED, SETTINGS
from .signals import EXIT_CANCELLED
from .stderr import tell
from .stores.urls import shown_url
from .terminal import person_line
from .verify import BadJournal
from .watchdog import EXIT_OVERRUN

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
_SECRET_FLAGS = tuple(setting.flag for setting in SETTINGS if setting.secret)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 failed while running, 2 bad input, 130 cancelled.

    With --exit-on-overrun the process may also end by itself, with 70.
    """
    try:
        return _command.main(arguments, prog_name="conductor-jobs", standalone_mode=False) or EXIT_OK
    except click.ClickException as error:
        _without_secrets(error, sys.argv[1:] if arguments is None else arguments).show()
        return EXIT_BAD_INPUT
    except BaseException as error:  # noqa: BLE001 - every ending has its exit code
        return _exit_code(sole_exception(error))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="conductor-jobs %(version)s")
def _command() -> None:
    """Run timed jobs on one leader at a time."""


_OTHERS = (
    status_command,
    logs_command,
    history_command,
    nodes_command,
    runners_command,
    verify_command,
    next_command,
    control_api_command,
)
for _other in _OTHERS:
    _command.add_command(_other)


@_command.command("start")
@click.argument("app", required=False, metavar="[APP]", shell_complete=complete_files)
@click.option("--run-once", is_flag=True, help="learn who leads, have one tick of the runners without a schedule, stop")
@click.option(
    "--exit-on-overrun",
    is_flag=True,
    help=f"end at once, with exit code {EXIT_OVERRUN}, when a job is still at work after its lease has run out",
)
@click.option("--quiet", is_flag=True, help="do not print the journal")
@settings_as_flags()
def _start(app: str | None, run_once: bool, exit_on_overrun: bool, quiet: bool, **flags: str | None) -> int:
    """Run the jobs of APP until SIGTERM or SIGINT, which drains; a second signal cancels.

    APP is package.module:name or file.py:name: a TimedJobs, a function that returns one, or an async context manager
    that yields (jobs, resources). Without APP it only takes part in the election, with no runners.
    """
    # Before anything of APP's can start a child.
    manager = service_manager(os.environ)
    _warn_of_variables()
    config = read_config(flags, os.environ)
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
        return EXIT_FAILED
    finally:
        manager.close()
        _close(printer)
    if succeeded:
        return EXIT_OK
    _say(str(runtime.problem))
    return EXIT_FAILED


@_command.command("config")
@click.argument("app", required=False, metavar="[APP]", shell_complete=complete_files)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@settings_as_flags()
def _config(app: str | None, as_json: bool, **flags: str | None) -> int:
    """Print the settings that `start` with the same arguments would have.

    An APP that is a context manager is opened for it, and closed; no job runs.
    """
    _warn_of_variables()
    config = read_config(flags, os.environ)
    if app is not None:
        config = config.with_code(trio.run(_jobs_config, load_app(app)))
    shown = config.shown()
    if as_json:
        click.echo(json.dumps(shown))
    else:
        for name, value in shown.items():
            click.echo(f"{name}: {_words(value)}")
    return EXIT_OK


@_command.command("help")
@click.pass_context
def _help(context: click.Context) -> int:
    """Print the usage with every flag and every variable."""
    parent = context.parent
    assert parent is not None
    click.echo(_command.get_help(parent))
    for command in (_start, _config, *_OTHERS):
        click.echo("\n" + command.get_help(click.Context(command, info_name=command.name, parent=parent)))
    click.echo("\nVariables (a flag beats its variable):")
    for setting in SETTINGS:
        if setting.variable is not None:
            click.echo(f"  {setting.variable:<38} like {setting.flag} {setting.rule.metavar}")
    click.echo(
        '\nCompletion: eval "$(_CONDUCTOR_JOBS_COMPLETE=bash_source conductor-jobs)", or zsh_source, fish_source.'
    )
    return EXIT_OK


def _without_secrets(error: click.ClickException, arguments: Sequence[str]) -> click.ClickException:
    # Beside a token that was mistyped, or cut at a blank, the rest of it may be what is complained of.
    given = [flag for flag in _SECRET_FLAGS if any(argument.startswith(flag) for argument in arguments)]
    for flag in given:
        if isinstance(error, click.NoSuchOption) and error.option_name.startswith(flag):
            return click.UsageError(f"No such option '{flag}…'. Did you mean '{flag}'?", error.ctx)
    if given and "unexpected extra argument" in error.message:
        return click.UsageError(
            f"Got unexpected extra arguments, not shown beside {given[0]}.",
            error.ctx if isinstance(error, click.UsageError) else None,
        )
    return error


async def _jobs_config(app: App) -> Any:
    async with opened(app) as (jobs, _):
        return jobs.config


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


def _words(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return NOT_CONFIGURED if value is None else str(value)


def _warn_of_variables() -> None:
    for name in unknown_variables(os.environ):
        _say(f"warning: {name} is no setting of conductor-jobs")


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return EXIT_CANCELLED
    if isinstance(error, Unusable | BadApp | BadSettings | BadJournal):
        return _refuse(error)
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code  # click's own, as after a completion
    if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC):
        _say(f"standard output: {error.strerror}")
        return EXIT_FAILED
    traceback.print_exception(error)
    return EXIT_FAILED


def _refuse(error: Exception) -> int:
    if isinstance(error, BadApp) and error.__cause__ is not None and not isinstance(error.__cause__, ImportError):
        traceback.print_exception(error.__cause__)
    for line in str(error).splitlines():
        _say(line)
    return EXIT_BAD_INPUT


def _close(printer: JournalPrinter | None) -> None:
    if printer is not None:
        printer.close()
        # A reader that has gone away, as `head` does, is no loss to anybody.
        if printer.dropped and not isinstance(printer.problem, BrokenPipeError):
            reason = "nobody read them in time" if printer.problem is None else printer.problem.strerror
            _say(f"{printer.dropped} journal lines were not printed: {reason}")


def _say(sentence: str) -> None:
    tell(f"conductor-jobs: {sentence}")
