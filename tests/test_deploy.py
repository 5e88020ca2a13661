"""The service files fit what they start: their times, their command lines, their variables, their probes."""

import importlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import click
import pytest

from conductor_jobs import Conductor, LeaseTiming, cli
from conductor_jobs.config import Config, read_config
from conductor_jobs.settings import SETTINGS

from .processes import PATIENCE, started

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "deploy/systemd/conductor-jobs.service"
MANIFEST = ROOT / "deploy/kubernetes/deployment.yaml"
APP = "from conductor_jobs import TimedJobs\njobs = TimedJobs()\n"
SECRET = "hunter2"


def unit() -> dict[str, list[str]]:
    """The unit's settings by name; a name may be given several times."""
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


def one(name: str) -> str:
    (value,) = unit()[name]
    return value


def manifest() -> Any:
    # Sphinx and its kin bring it along; it has no types.
    return importlib.import_module("yaml").safe_load(MANIFEST.read_text())


def container() -> Any:
    (only,) = manifest()["spec"]["template"]["spec"]["containers"]
    return only


def longest_stop() -> float:
    """Seconds that a stop takes at the most, when its work can be cancelled."""
    defaults: Any = Conductor.__init__.__kwdefaults__
    return float(defaults["drain_timeout"]) + LeaseTiming().patience


def understood(arguments: list[str], variables: dict[str, str]) -> tuple[str, Config]:
    """What `start` makes of a command line and of variables, every one of which it must know."""
    assert arguments[0] == "start"
    command = cli._command.get_command(click.Context(cli._command), "start")
    assert command is not None
    given = dict(command.make_context("start", arguments[1:]).params)
    app = given.pop("app")
    flags = {setting.name: given[setting.name] for setting in SETTINGS}
    ours = {name for name in variables if name.startswith("BAA_")}
    assert ours <= {setting.variable for setting in SETTINGS}
    return app, read_config(flags, variables)


def variables_of_unit() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in unit()["Environment"])


def variables_of_manifest() -> dict[str, str]:
    return {each["name"]: each.get("value", SECRET) for each in container()["env"]}


def test_a_stop_is_given_the_time_that_the_drain_may_take() -> None:
    assert longest_stop() == 33
    assert int(one("TimeoutStopSec")) > longest_stop() + 10
    assert manifest()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > longest_stop() + 10
    # The comments say how it comes about.
    for file in (UNIT, MANIFEST):
        assert (
            "# The drain, up to 20 s, then the cancelled work's cleanup and the release, up to 13 s;"
            in file.read_text()
        )


def test_nobody_is_killed_for_a_block_that_only_costs_the_lease() -> None:
    ttl = LeaseTiming().ttl
    liveness = container()["livenessProbe"]
    assert int(one("WatchdogSec")) > ttl
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > ttl


def test_the_unit_is_of_a_service_that_tells_when_it_is_ready_and_comes_back() -> None:
    expected = {"Type": "notify", "KillSignal": "SIGTERM", "KillMode": "mixed", "Restart": "on-failure"}
    assert {name: one(name) for name in expected} == expected
    assert one("RestartPreventExitStatus") == str(cli.EXIT_BAD_INPUT)
    assert one("StartLimitIntervalSec") == "0"


def test_the_units_command_line_and_variables_are_ours() -> None:
    program, *arguments = shlex.split(one("ExecStart"))
    app, config = understood(arguments, variables_of_unit())
    assert (Path(program).name, app) == ("conductor-jobs", "jobs.py:jobs")
    assert (str(config.log_dir), config["retention_days"]) == ("/var/log/conductor-jobs/timed-jobs", 30)
    # Folders that systemd makes for it.
    assert config["state_dir"] == f"/var/lib/{one('StateDirectory')}"
    assert config["logs_dir"] == f"/var/log/{one('LogsDirectory')}"


def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd-analyze here")
    program = shlex.split(one("ExecStart"))[0]
    file = tmp_path / UNIT.name
    # The program and the folder need to exist where it is verified.
    text = UNIT.read_text().replace(program, sys.executable)
    file.write_text(text.replace(f"WorkingDirectory={one('WorkingDirectory')}", f"WorkingDirectory={tmp_path}"))
    done = subprocess.run([verify, "verify", "--man=no", file], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_what_the_unit_starts_is_ready_and_stops_by_its_signal(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(APP)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(PATIENCE)
        program, *arguments = shlex.split(one("ExecStart"))
        variables = variables_of_unit() | {
            "BAA_STATE_DIR": str(tmp_path / "state"),
            "BAA_LOGS_DIR": str(tmp_path / "logs"),
            "BAA_CONDUCTOR_LOCAL_API": "http://127.0.0.1:0",
            "NOTIFY_SOCKET": address,
            "WATCHDOG_USEC": str(int(one("WatchdogSec")) * 1_000_000),
        }
        command = [sys.executable, "-m", "conductor_jobs", *arguments]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            told = ""
            while "READY=1" not in told:
                told += manager.recv(4096).decode() + "\n"
            process.send_signal(signal.Signals[one("KillSignal")])
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.communicate()
    assert (Path(program).name, process.returncode, out) == ("conductor-jobs", 0, "")
    assert "local API at http://127.0.0.1:" in err


def test_several_pods_share_a_store_that_is_not_of_one_machine() -> None:
    assert manifest()["spec"]["replicas"] > 1
    app, config = understood(container()["args"], variables_of_manifest())
    assert container()["command"] == ["conductor-jobs"]
    assert app == "jobs.py:jobs"
    assert re.match(r"postgresql://\w+@", config.store_url)
    mounted = {each["mountPath"] for each in container()["volumeMounts"]}
    assert config["logs_dir"] in mounted
    # The root file system is read-only, and nothing else is written to.
    assert container()["securityContext"]["readOnlyRootFilesystem"]
    volumes = {each["name"] for each in manifest()["spec"]["template"]["spec"]["volumes"]}
    assert {each["name"] for each in container()["volumeMounts"]} == volumes


def test_no_secret_is_in_the_manifest() -> None:
    for each in container()["env"]:
        if re.search("TOKEN|PASSWORD", each["name"]):
            assert set(each["valueFrom"]) == {"secretKeyRef"}
    assert ":" not in re.findall(r"//(.*)@", " ".join(container()["args"]))[0]


def test_labels_and_ports_fit_together() -> None:
    spec = manifest()["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (port,) = container()["ports"]
    _, config = understood(container()["args"], variables_of_manifest())
    assert config["local_api"] == f"http://0.0.0.0:{port['containerPort']}"
    assert {container()[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {
        port["name"]
    }


def test_the_probes_are_answered_without_a_token_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = variables_of_manifest() | {
        "BAA_LOGS_DIR": str(tmp_path / "logs"),
        "BAA_CONDUCTOR_LOCAL_API": f"http://0.0.0.0:{port}",
    }
    options = [each for each in container()["args"][1:] if not each.startswith("--store")]
    app = options.pop()
    paths = [container()[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    with started(tmp_path, app, *options, f"--store=sqlite:///{tmp_path}/jobs.db", **variables) as process:
        process.wait_for("leader_started")
        for path in paths:
            assert status_of(f"http://127.0.0.1:{port}{path}") == 200
        assert status_of(f"http://127.0.0.1:{port}/v1/status") == 401
        # As in the pod: with the address to listen on, and the token.
        asked = [sys.executable, "-m", "conductor_jobs", "status"]
        assert subprocess.run(asked, env=os.environ | variables, capture_output=True).returncode == 0
        assert (
            subprocess.run([*asked, "--local-api-token=x"], env=os.environ | variables, capture_output=True).returncode
            == 3
        )
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def status_of(url: str) -> int:
    """The status of an answer, of a server that may only be about to listen."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
