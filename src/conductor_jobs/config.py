"""What is configured: the value of every setting, and where it came from.

A value comes from the setting's flag, else its variable, else what the code of APP gives, else its default. Bad
values are collected, so that whoever starts the command learns of all of them at once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, final

import msgspec

from .errors import Unusable
from .lease import Node
from .settings import SETTINGS, Setting
from .stores import open_store
from .stores.urls import shown_url
from .timing import LeaseTiming

Source = Literal["flag", "variable", "code", "default"]
# What the code of APP can give: the setting, the field of TimedJobsConfig, and how many of the one make the other.
_OF_JOBS: Final = (
    ("timed_jobs_interval_ms", "interval", 1000),
    ("timed_jobs_max_messages_per_tick", "max_messages_per_tick", 1),
    ("timed_jobs_max_tasks_per_tick", "max_tasks_per_tick", 1),
    ("timed_jobs_settle_delay_ms", "settle_delay", 1000),
)
_OF_TIMING: Final = ("lease_renew_interval_ms", "lease_ttl_sec")
_BEGINNINGS: Final = ("BAA_TIMED_JOBS_", "BAA_CONDUCTOR_")
_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


class BadSettings(ValueError):
    """Values that break their rules, each with field, value, source and rule, one a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@final
class Config:
    """The settings of one start, each with where it came from."""

    def __init__(self, values: Mapping[str, tuple[Any, Source]]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        """Return a setting's value, its default included."""
        return self._values[name][0]

    def source(self, name: str) -> Source:
        """Return where a setting's value came from."""
        return self._values[name][1]

    @property
    def node(self) -> Node:
        """Who this process is."""
        return Node(self["node_id"], self["host"], self["role"], self["priority"])

    @property
    def timing(self) -> LeaseTiming:
        """The seconds by which the lease is held. Raises ValueError if they are unsafe together."""
        renew_interval_ms = self["lease_renew_interval_ms"]
        return LeaseTiming(
            ttl=self["lease_ttl_sec"],
            renew_interval=None if renew_interval_ms is None else renew_interval_ms / 1000,
        )

    @property
    def store_url(self) -> str:
        """The URL of the store: as given, or the control API's if there is a token, or that of a file."""
        given: str | None = self["store"]
        control_api: str | None = self["public_api_base"] if self["shared_token"] is not None else None
        return given or control_api or f"sqlite:///{Path(self['state_dir']) / 'conductor.db'}"

    @property
    def log_dir(self) -> Path:
        """The folder of the journal."""
        return Path(self["logs_dir"]) / "timed-jobs"

    def jobs_changes(self) -> dict[str, Any]:
        """Return the fields of a `TimedJobsConfig` that a flag or variable overrides."""
        given = [row for row in _OF_JOBS if self.source(row[0]) in ("flag", "variable")]
        return {field: self[name] if scale == 1 else self[name] / scale for name, field, scale in given}

    def with_code(self, jobs_config: msgspec.Struct) -> "Config":
        """Return the configuration with what APP's code gives in place of the defaults."""
        values = dict(self._values)
        for name, field, scale in _OF_JOBS:
            if self.source(name) == "default":
                value = getattr(jobs_config, field) * scale
                values[name] = (round(value) if value == round(value) else value, "code")
        return Config(values)

    def shown(self) -> dict[str, Any]:
        """Return names and values as they may be shown: of a secret only whether there is one."""
        values: dict[str, Any] = {}
        for setting in SETTINGS:
            if setting.secret:
                values[f"{setting.name}_configured"] = self[setting.name] is not None
            elif setting.name == "lease_renew_interval_ms":
                values[setting.name] = round(self.timing.renew_interval * 1000)
            else:
                values[setting.name] = self[setting.name]
        node = self.node
        worked_out = {"node_id": node.node_id, "host": node.host, "priority": node.priority}
        return values | worked_out | {"store": shown_url(self.store_url)}


def read_config(flags: Mapping[str, str | None], variables: Mapping[str, str]) -> Config:
    """Read every setting. Raises BadSettings with all that is wrong. An empty variable is one that is not set."""
    values: dict[str, tuple[Any, Source]] = {}
    problems: list[str] = []
    bad: set[str] = set()
    for setting in SETTINGS:
        text, source = _text_of(setting, flags, variables)
        value = setting.default if text is None else setting.rule.parse(text)
        if text is not None and value is None:
            problems.append(_problem(setting, text, source))
            bad.add(setting.name)
            value = setting.default
        values[setting.name] = (value, source)
    config = Config(values)
    problems += _timing_problems(config, bad)
    problems += _store_problems(config, bad)
    if problems:
        raise BadSettings(problems)
    return config


def unknown_variables(variables: Mapping[str, str]) -> list[str]:
    """Return the variables that look like settings, by their beginnings, and are none: they were mistyped."""
    known = {setting.variable for setting in SETTINGS}
    return sorted(name for name in variables if name.startswith(_BEGINNINGS) and name not in known)


def _text_of(
    setting: Setting, flags: Mapping[str, str | None], variables: Mapping[str, str]
) -> tuple[str | None, Source]:
    if (text := flags.get(setting.name)) is not None:
        return text, "flag"
    if setting.variable is not None and (text := variables.get(setting.variable)):
        return text, "variable"
    return None, "default"


def _timing_problems(config: Config, bad: set[str]) -> list[str]:
    given = [_BY_NAME[name] for name in _OF_TIMING if config.source(name) != "default"]
    if not bad.isdisjoint(_OF_TIMING):
        return []
    try:
        _ = config.timing
    except ValueError as error:
        values = ", ".join(
            f"{_where(setting, config.source(setting.name))} {config[setting.name]}" for setting in given
        )
        return [f"{values}: {error}"]
    return []


def _store_problems(config: Config, bad: set[str]) -> list[str]:
    # Beyond its scheme each store has rules of its own for its URL, and packages that it needs.
    if not bad.isdisjoint(("store", "shared_token", "public_api_base")):
        return []
    try:
        open_store(config.store_url, token=config["shared_token"])
    except (ValueError, Unusable) as error:
        setting = next(_BY_NAME[name] for name in ("store", "public_api_base", "state_dir") if config[name] is not None)
        return [f"{_where(setting, config.source(setting.name))}: {error}"]
    return []


def _where(setting: Setting, source: Source) -> str:
    return setting.flag if source == "flag" else str(setting.variable)


def _problem(setting: Setting, text: str, source: Source) -> str:
    # A URL that is refused may have a password in it anywhere.
    hidden = setting.secret or (setting.rule.metavar == "<url>" and any(each in text for each in "@?#="))
    value = "" if hidden else f", not {text!r}"
    return f"{_where(setting, source)}: Conductor {setting.label} must be {setting.rule.words}{value}."
