"""Every row of the table of settings, good and bad, as flag and as variable; and what is made of the table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conductor_jobs import TimedJobs
from conductor_jobs.config import BadSettings, read_config, unknown_variables
from conductor_jobs.settings import SETTINGS, Setting
from conductor_jobs.settings_page import settings_page

ROOT = Path(__file__).parent.parent
SECRET = "hunter2-is-the-token"
GOOD: dict[str, list[tuple[str, Any]]] = {
    "<integer>": [("7", 7), (" 12 ", 12), ("007", 7)],
    "<text>": [("mini-main", "mini-main"), ("  ü  ", "ü")],
    "<path>": [("some where/else", "some where/else"), ("/", "/")],
    "<role>": [("primary", "primary"), ("standby", "standby")],
    "http": [("https://control.example:8443/base", "https://control.example:8443/base")],
    "listen": [(url, url) for url in ("http://127.0.0.1:4317", "http://[::1]:0", "HTTP://localhost:65535")],
    "store": [(url, url) for url in ("sqlite:///x.db", "memory:", "postgresql://u:p@h/d", "https://h", "etcds://h")],
}
BAD: dict[str, list[str]] = {
    "<integer>": ["1.5", "x", "", "1e3", "٣", "9" * 13, "0x10", "+1"],
    "<text>": [" ", "two\nlines", "nul\0"],
    "<path>": [" ", "nul\0", "two\nlines"],
    "<role>": ["leader", "Primary", " "],
    "http": [
        "ftp://x",
        "http://",
        "control.example",
        "http://x:0",
        "http://x:port",
        "http://[::1",
        "http://user:secret@x",
        "http://user@x?secret",
    ],
    "listen": [
        "127.0.0.1:4317",
        "https://127.0.0.1:4317",
        "http+unix://a.sock",
        "http://127.0.0.1",
        "http://127.0.0.1:",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:-1",
        "http://127.0.0.1:4317/",
        "http://127.0.0.1:4317/status",
        "http://127.0.0.1:4317?secret",
        "http://127.0.0.1:4317#secret",
        "http://user:secret@127.0.0.1:4317",
        "http://:4317",
        "http://::1:4317",
        "http://[::1:4317",
        "http://a b:1",
        "http://a\tb:1",
        "http://a\\b:1",
    ],
    "store": ["sqlite://x.db", "sqlite:///", "mysql://x", "memory:x", "memory", "redis:x", "http:", "my://secret@x"],
}


def kind(setting: Setting) -> str:
    if setting.rule.metavar == "<url>":
        return {"store": "store", "local_api": "listen"}.get(setting.name, "http")
    return setting.rule.metavar


def bad_texts(setting: Setting) -> list[str]:
    below = {"a positive integer": ["0", "-1"], "a non-negative integer": ["-1"]}.get(setting.rule.words, [])
    return [*BAD[kind(setting)], *below]


def rows(texts: Any) -> list[Any]:
    return [
        pytest.param(setting, text, id=f"{setting.name}={text!r}") for setting in SETTINGS for text in texts(setting)
    ]


@pytest.mark.parametrize(("setting", "case"), rows(lambda setting: GOOD[kind(setting)]))
def test_a_good_value_is_taken_from_flag_or_variable_and_the_flag_wins(setting: Setting, case: tuple[str, Any]) -> None:
    text, value = case
    timing = {"lease_ttl_sec": "100"} if setting.name == "lease_renew_interval_ms" else {}
    from_flag = read_config({**timing, setting.name: text}, {})
    assert (from_flag[setting.name], from_flag.source(setting.name)) == (value, "flag")
    if setting.variable is None:
        return
    from_variable = read_config(timing, {setting.variable: text})
    assert (from_variable[setting.name], from_variable.source(setting.name)) == (value, "variable")
    both = read_config({**timing, setting.name: text}, {setting.variable: "never looked at \0"})
    assert both[setting.name] == value


@pytest.mark.parametrize(("setting", "text"), rows(bad_texts))
def test_a_bad_value_is_named_with_field_value_source_and_rule(setting: Setting, text: str) -> None:
    with pytest.raises(BadSettings) as from_flag:
        read_config({setting.name: text}, {})
    value = "" if setting.secret or "secret" in text else f", not {text!r}"
    told = f"Conductor {setting.label} must be {setting.rule.words}{value}."
    assert from_flag.value.problems == [f"{setting.flag}: {told}"]
    if setting.variable is None or not text:
        return
    with pytest.raises(BadSettings) as from_variable:
        read_config({}, {setting.variable: text})
    assert from_variable.value.problems == [f"{setting.variable}: {told}"]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadSettings) as caught:
        read_config({"role": "boss", "lease_renew_interval_ms": "40000"}, {"BAA_TIMED_JOBS_INTERVAL_MS": "soon"})
    assert caught.value.problems == [
        "--role: Conductor role must be `primary` or `standby`, not 'boss'.",
        "BAA_TIMED_JOBS_INTERVAL_MS: Conductor timed jobs interval must be a positive integer, not 'soon'.",
        "--lease-renew-interval-ms 40000: lease timing is unsafe: renew_interval + 2 * store_timeout + margin must be "
        "less than ttl, but 40 + 2 * 5 + 3 >= 30 seconds.",
    ]


def test_flags_beat_variables_which_beat_code_which_beats_the_default() -> None:
    variables = {"BAA_TIMED_JOBS_INTERVAL_MS": "10000", "BAA_TIMED_JOBS_MAX_TASKS_PER_TICK": "12"}
    config = read_config({"timed_jobs_interval_ms": "6000"}, variables)
    jobs = TimedJobs(interval=1, max_tasks_per_tick=3, max_messages_per_tick=4)
    assert config.jobs_changes() == {"interval": 6.0, "max_tasks_per_tick": 12}
    jobs.configure(**config.jobs_changes())
    assert (jobs.config.interval, jobs.config.max_tasks_per_tick, jobs.config.max_messages_per_tick) == (6, 12, 4)
    effective = config.with_code(jobs.config)
    assert [effective.source(f"timed_jobs_{name}") for name in ("interval_ms", "max_messages_per_tick")] == [
        *("flag", "code")
    ]
    assert effective["timed_jobs_settle_delay_ms"] == 10_000


def test_timing_is_not_judged_by_a_ttl_that_nobody_gave() -> None:
    with pytest.raises(BadSettings) as caught:
        read_config({"lease_ttl_sec": "1x", "lease_renew_interval_ms": "20000"}, {})
    assert len(caught.value.problems) == 1


def test_a_home_folder_is_found_and_a_fraction_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    config = read_config({"logs_dir": "~/logs"}, {})
    assert config["logs_dir"] == "/home/somebody/logs"
    assert config.with_code(TimedJobs(interval=0.0005).config)["timed_jobs_interval_ms"] == 0.5


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    config = read_config({}, {setting.variable: "" for setting in SETTINGS if setting.variable})
    assert {config.source(setting.name) for setting in SETTINGS} == {"default"}


def test_a_misspelt_variable_is_noticed() -> None:
    given = ["BAA_TIMED_JOBS_INTERVAL", "BAA_TIMED_JOBS_INTERVAL_MS", "BAA_CONDUCTOR_LEASE_TTL", "OTHER", "BAA_X"]
    misspelt = unknown_variables(dict.fromkeys(given, "1"))
    assert misspelt == ["BAA_CONDUCTOR_LEASE_TTL", "BAA_TIMED_JOBS_INTERVAL"]


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conductor_jobs", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


def test_config_prints_the_settings_in_the_seeds_order_and_never_the_token(tmp_path: Path) -> None:
    done = run(tmp_path, "config", BAA_SHARED_TOKEN=SECRET, BAA_NODE_ID="mini-main", BAA_TIMED_JOBS_X="1")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    start = lines.index("lease_renew_interval_ms: 5000")
    assert lines[start:] == [
        "lease_renew_interval_ms: 5000",
        "lease_ttl_sec: 30",
        "renew_failure_threshold: 2",
        "timed_jobs_interval_ms: 10000",
        "timed_jobs_max_messages_per_tick: 10",
        "timed_jobs_max_tasks_per_tick: 10",
        "timed_jobs_settle_delay_ms: 10000",
        "shared_token_configured: true",
        "runs_dir: not-configured",
        "worktrees_dir: not-configured",
        "logs_dir: .conductor/logs",
        "state_dir: .conductor/state",
        "tmp_dir: not-configured",
        "local_api: not-configured",
        "local_api_token_configured: false",
        "retention_days: not-configured",
        "drain_timeout_sec: 20",
    ]
    assert "node_id: mini-main" in lines
    assert done.stderr == "conductor-jobs: warning: BAA_TIMED_JOBS_X is no setting of conductor-jobs\n"
    as_json = json.loads(run(tmp_path, "config", "--json", BAA_SHARED_TOKEN=SECRET).stdout)
    assert as_json["shared_token_configured"] is True
    assert as_json["runs_dir"] is None
    assert list(tmp_path.iterdir()) == []


def test_config_of_an_app_shows_what_its_code_gives(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from conductor_jobs import TimedJobs\njobs = TimedJobs(interval=2.5)\n")
    assert "timed_jobs_interval_ms: 2500" in run(tmp_path, "config", "app:jobs").stdout
    assert "timed_jobs_interval_ms: 7" in run(tmp_path, "config", "app:jobs", "--timed-jobs-interval-ms", "7").stdout


@pytest.mark.parametrize(("secret", "code"), [(SECRET, 0), (f"{SECRET}\x01", 2), (f"{SECRET}\nline", 2)])
def test_tokens_are_in_no_output(tmp_path: Path, secret: str, code: int) -> None:
    starts = [
        run(tmp_path, "config", "--shared-token", secret),
        run(tmp_path, "config", "--json", BAA_SHARED_TOKEN=secret),
        run(tmp_path, "start", "--run-once", "--shared-token", secret),
        run(tmp_path, "config", "--local-api-token", secret),
        run(tmp_path, "start", "--run-once", BAA_CONDUCTOR_LOCAL_API_TOKEN=secret),
    ]
    assert [done.returncode for done in starts] == [code] * 5
    texts = [text for done in starts for text in (done.stdout, done.stderr)]
    texts += [path.read_text() for path in tmp_path.rglob("*.jsonl")]
    assert not any("hunter2" in text for text in texts)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--node-id", "--shared-token=SECRET", "--run-once"],
        ["--role", "--shared-token=SECRET"],
        ["--shared-tokenSECRET"],
        ["--shared-token:SECRET"],
        ["--shared-tokn", "SECRET"],
        ["--shared-token", "my", "SECRET", "more"],
        ["--local-api", "--local-api-token=SECRET"],
        ["--local-api-tokn", "SECRET"],
        ["--local-api-tokenSECRET"],
        ["--local-api-token", "my", "SECRET", "more"],
    ],
)
def test_no_mistake_on_the_command_line_shows_a_token(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, "start", *[argument.replace("SECRET", SECRET) for argument in arguments])
    assert done.returncode == 2
    assert SECRET not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_settings_start_and_write_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "start", "--role", "boss", BAA_LEASE="x", BAA_CONDUCTOR_LEASE_TTL_SEC="never")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "conductor-jobs: --role: Conductor role must be `primary` or `standby`, not 'boss'.",
        "conductor-jobs: BAA_CONDUCTOR_LEASE_TTL_SEC: Conductor lease ttl must be a positive integer, not 'never'.",
    ]
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_flag_and_variable() -> None:
    told = run(ROOT, "help", PATH=os.environ["PATH"]).stdout
    for setting in SETTINGS:
        assert f"{setting.flag} {setting.rule.metavar}" in told
        assert setting.variable is None or setting.variable in told


def test_the_settings_page_is_made_of_the_table() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page()
