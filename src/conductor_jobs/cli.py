"""The command `conductor-jobs`: its parts, its usage, and the exit code of whatever ends it."""

import errno
import sys
import traceback
from collections.abc import Sequence

import click

from ._version import __version__
from .apps import BadApp
from .cli_config import config_command
from .cli_control_api import control_api_command
from .cli_history import history_command
from .cli_logs import logs_command
from .cli_next import next_command
from .cli_nodes import nodes_command
from .cli_runners import runners_command
from .cli_start import start_command
from .cli_status import status_command
from .cli_verify import verify_command
from .config import BadSettings
from .errors import Unusable
from .failures import sole_exception
from .settings import SETTINGS
from .signals import EXIT_CANCELLED
from .stderr import tell
from .verify import BadJournal

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


_COMMANDS = (
    start_command,
    config_command,
    status_command,
    logs_command,
    history_command,
    nodes_command,
    runners_command,
    verify_command,
    next_command,
    control_api_command,
)
for _each in _COMMANDS:
    _command.add_command(_each)


@_command.command("help")
@click.pass_context
def _help(context: click.Context) -> int:
    """Print the usage with every flag and every variable."""
    parent = context.parent
    assert parent is not None
    click.echo(_command.get_help(parent))
    for command in _COMMANDS:
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


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return EXIT_CANCELLED
    if isinstance(error, Unusable | BadApp | BadSettings | BadJournal):
        return _refuse(error)
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code  # click's own, as after a completion
    if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ENOSPC):
        tell(f"conductor-jobs: standard output: {error.strerror}")
        return EXIT_FAILED
    traceback.print_exception(error)
    return EXIT_FAILED


def _refuse(error: Exception) -> int:
    if isinstance(error, BadApp) and error.__cause__ is not None and not isinstance(error.__cause__, ImportError):
        traceback.print_exception(error.__cause__)
    for line in str(error).splitlines():
        tell(f"conductor-jobs: {line}")
    return EXIT_BAD_INPUT
