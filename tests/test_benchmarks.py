"""The benchmarks run; what they measure is reported by them and asserted nowhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("log", ["0", "1"])
def test_ticks_are_measured_and_every_line_is_found(variant: str, log: str) -> None:
    command = [sys.executable, "-m", "benchmarks.ticks", "10", variant, log, "0.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert (measured["ok"], measured["bad"]) == (True, 0)
