"""Where the contenders' packages are: those of the extra `bench` beside ours, APScheduler 4 in a folder of its own."""

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from ..measuring import ROOT

APSCHEDULER4 = "APScheduler==4.0.0a6"
# Not to be installed beside APScheduler 3, whose module has the same name. `build` is not under version control.
APSCHEDULER4_FOLDER = ROOT / "build" / "apscheduler4"


def has(module: str) -> bool:
    """Return whether a module can be imported."""
    return importlib.util.find_spec(module) is not None


def has_apscheduler3() -> bool:
    """Return whether APScheduler is there, in a version that is not the other contender."""
    return has("apscheduler") and metadata.version("apscheduler").startswith("3.")


def apscheduler4_folder(*, install: bool) -> Path | None:
    """Return the folder with APScheduler 4, or None if it is not there; `install` has pip put it there first."""
    if install and not APSCHEDULER4_FOLDER.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(APSCHEDULER4_FOLDER), APSCHEDULER4]
        subprocess.run(command, check=True)
    return APSCHEDULER4_FOLDER if APSCHEDULER4_FOLDER.is_dir() else None
