"""The table of settings as flags of a command, and what is read from them."""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Final

import click
from click.shell_completion import CompletionItem

from .config import Config, read_config, unknown_variables
from .settings import SETTINGS
from .stderr import tell

Command = Callable[..., int]


def settings_as_flags(names: Collection[str] | None = None) -> Callable[[Command], Command]:
    """Return a decorator that gives a command a flag for each setting, or for those with these names.

    Every flag is taken as a text: its rule is applied with all the others', so that all that is wrong is said.
    """

    def decorate(function: Command) -> Command:
        for setting in reversed(SETTINGS):
            if names is not None and setting.name not in names:
                continue
            sources = f"{setting.variable}; {setting.default_words}" if setting.variable else setting.default_words
            function = click.option(
                setting.flag,
                setting.name,
                metavar=setting.rule.metavar,
                help=f"{setting.help}  [{sources}]",
                callback=_refuse_flag,
                shell_complete=_COMPLETE.get(setting.rule.metavar),
            )(function)
        return function

    return decorate


def configured(flags: Mapping[str, str | None]) -> Config:
    """Return what is configured by these flags and by variables, with a warning of variables that mean nothing.

    Raises BadSettings, which says all that is wrong.
    """
    for name in unknown_variables(os.environ):
        tell(f"conductor-jobs: warning: {name} is no setting of conductor-jobs")
    return read_config(flags, os.environ)


def complete_files(_context: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Have the shell complete names of files."""
    return [CompletionItem(text, type="file")]


def _complete_roles(_context: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    return [CompletionItem(role) for role in ("primary", "standby") if role.startswith(text)]


_COMPLETE: Final = {"<path>": complete_files, "<role>": _complete_roles}


def _refuse_flag(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    # An empty shell variable would make of the next flag, the token's perhaps, a value that is printed.
    if value is not None and value.startswith("--"):
        raise click.UsageError(f"Option {parameter.opts[0]!r} requires an argument.", context)
    return value
