"""Any text as any setting: it is taken, or refused with field, value and rule, all at once and nothing started."""

import io
import json
import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

from hypothesis import assume, example, given
from hypothesis import strategies as st

from conductor_jobs import cli
from conductor_jobs.config import BadSettings, Config, read_config
from conductor_jobs.settings import SETTINGS, Setting
from conductor_jobs.stores.urls import kind_of

from .strategies import fewer, texts

SECRET = "hunter2"
BY_NAME = {setting.name: setting for setting in SETTINGS}
VARIABLES = {setting.variable: setting for setting in SETTINGS if setting.variable is not None}
PLAUSIBLE = (
    *(
        "30",
        "0",
        "-1",
        "007",
        "999999999999",
        "1e3",
        "٣",
        "5_000",
        "primary",
        "standby",
        "leader",
        "~",
        "~nobody-here/x",
    ),
    *(
        "sqlite:///x.db",
        "sqlite:////var/x.db",
        "memory:",
        "mysql://u:p@h/d",
        "postgresql://u:p@h/d",
        "redis://h:6379/0",
        "etcd://h,i:1",
        "http://h",
        "https://h:8443/base",
        ".",
        "/",
    ),
    *(
        "http://h:99999",
        "http://[::1]:1",
        "http://[",
        "http://user:word@h",
        "mini-main",
        " padded ",
        "a b",
        "--run-once",
    ),
)


@st.composite
def almost(draw: st.DrawFn) -> str:
    """Make a plausible value with something put into it that should not be there."""
    text = draw(st.sampled_from(PLAUSIBLE))
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.characters()) + text[place:]


values = st.one_of(st.sampled_from(PLAUSIBLE), almost(), texts)
flags = st.dictionaries(st.sampled_from(sorted(BY_NAME)), values, max_size=6)
variables = st.dictionaries(st.sampled_from(sorted(VARIABLES)), values, max_size=6)


def source_of(setting: Setting, flags: dict[str, str], variables: dict[str, str]) -> tuple[str, str] | None:
    """Return what the setting is called where it was given, and the text that was given."""
    if setting.name in flags:
        return setting.flag, flags[setting.name]
    text = variables.get(setting.variable or "")
    return (str(setting.variable), text) if text else None


def check_refused(problems: Sequence[str], flags: dict[str, str], variables: dict[str, str]) -> None:
    given = [(setting, found) for setting in SETTINGS if (found := source_of(setting, flags, variables))]
    for problem in problems:
        assert "\n" not in problem
        where = problem.split(":")[0].split(" ")[0]
        ((setting, (_, text)),) = [each for each in given if each[1][0] == where]
        if "lease timing is unsafe" in problem:
            continue
        # Beyond its scheme each store has rules of its own.
        if kind_of(text.strip()) is not None and f"Conductor {setting.label} must be" not in problem:
            continue
        assert f"Conductor {setting.label} must be {setting.rule.words}" in problem
        # What may hold a password is not repeated.
        hidden = setting.secret or (setting.rule.metavar == "<url>" and any(each in text for each in "@?#="))
        assert problem.endswith(f"{setting.rule.words}." if hidden else f", not {text!r}.")


def check_taken(config: Config, flags: dict[str, str], variables: dict[str, str]) -> None:
    timing = config.timing
    assert timing.renew_interval + 2 * timing.store_timeout + timing.margin < timing.ttl
    assert config.node.node_id
    assert str(config.log_dir).isprintable()
    for name, value in config.shown().items():
        assert str(value).isprintable(), f"{name} would print as more than one plain line"
    for setting in SETTINGS:
        given = source_of(setting, flags, variables)
        assert (config.source(setting.name) == "default") == (given is None)
        if given is not None and setting.rule.metavar == "<integer>":
            assert config[setting.name] == int(given[1].strip().replace("- ", "-"))
        elif given is not None and setting.rule.metavar != "<path>":
            assert config[setting.name] == given[1].strip()


@given(flags, variables)
@example({"logs_dir": "~nobody-here/logs"}, {})
@example({"store": "sqlite:///a\nshared_token_configured: false"}, {})
@example({"store": "sqlite:///caf\udce9.db"}, {})
@example({"public_api_base": "http://control/\nrole: standby"}, {})
@example({"public_api_base": "http://user:word@control"}, {})
def test_any_texts_are_taken_whole_or_refused_naming_field_value_and_rule(
    flags: dict[str, str], variables: dict[str, str]
) -> None:
    try:
        config = read_config(flags, variables)
    except BadSettings as refused:
        assert refused.problems
        check_refused(refused.problems, flags, variables)
    else:
        check_taken(config, flags, variables)


def run(arguments: Sequence[str], variables: dict[str, str]) -> tuple[int, str, str]:
    """Run the command in this process, with streams that are as strict as real ones."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with redirect_stdout(out), redirect_stderr(err), patch.dict(os.environ, variables, clear=True):
        code = cli.main(arguments)
    out.seek(0)
    err.seek(0)
    return code, out.read(), err.read()


def can_be_a_variable(text: str) -> bool:
    try:
        return "\0" not in text and text == os.fsdecode(os.fsencode(text))
    except UnicodeEncodeError:
        return False


@fewer(by=2)
@given(flags, st.dictionaries(st.sampled_from(sorted(VARIABLES)), values.filter(can_be_a_variable), max_size=6))
def test_the_command_prints_the_settings_or_exits_with_2_and_never_with_a_traceback(
    flags: dict[str, str], variables: dict[str, str]
) -> None:
    arguments = [f"{BY_NAME[name].flag}={text}" for name, text in flags.items()]
    code, out, err = run(["config", "--json", *arguments], variables)
    assert "Traceback" not in err
    if code == 0:
        expected = read_config(flags, variables).shown()
        worked_out = {"node_id", "host"}
        shown = json.loads(out)
        assert {k: v for k, v in shown.items() if k not in worked_out} == {
            k: v for k, v in expected.items() if k not in worked_out
        }
        return
    assert (code, out) == (2, "")
    assert err
    # What `config` refuses, `start` refuses in the same words, with nothing begun.
    assert run(["start", *arguments], variables) == (
        2,
        "",
        err.replace("conductor-jobs config", "conductor-jobs start"),
    )


@given(
    flags.map(lambda table: {name: text for name, text in table.items() if name != "shared_token"}),
    st.text(st.characters(), max_size=8),
    st.text(st.characters(), max_size=8),
)
def test_a_shared_token_is_never_shown_whether_it_is_taken_or_refused(
    flags: dict[str, str], before: str, after: str
) -> None:
    token = before + SECRET + after
    for taken in ({**flags, "shared_token": token}, flags):
        variables = {} if taken is not flags else {"BAA_SHARED_TOKEN": token}
        try:
            told: Any = read_config(taken, variables).shown()
            assert told["shared_token_configured"] is True
        except BadSettings as refused:
            told = str(refused)
        assert SECRET not in repr(told)


words = st.one_of(
    st.sampled_from([setting.flag for setting in SETTINGS]),
    st.sampled_from(["--json", "--quiet", "--run-once", "--help", "-h", "-x", "--", "-", "--no-such", "--version"]),
    values,
)


@fewer(by=2)
@given(st.lists(words, max_size=6), st.lists(words, max_size=3))
def test_any_words_on_the_command_line_are_told_as_usage_and_the_token_is_not_among_them(
    before: list[str], after: list[str]
) -> None:
    # What could be an APP is imported; here nothing is.
    assume(not any(":" in word for word in before + after))
    arguments = ["start", "--role=boss", *before, "--shared-token", SECRET, *after]
    code, _, err = run(arguments, {})
    assert code in (0, 2)
    assert "Traceback" not in err
    assert SECRET not in err


@given(st.lists(st.one_of(words, st.sampled_from(["config", "help", "stat"])), max_size=4))
def test_any_words_instead_of_a_command_are_no_reason_for_a_traceback(arguments: list[str]) -> None:
    assume("start" not in arguments)
    assume(not any(":" in word for word in arguments))
    code, _, err = run(arguments, {})
    assert code in (0, 2)
    assert "Traceback" not in err
