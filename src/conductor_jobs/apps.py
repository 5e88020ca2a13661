"""Finding the `TimedJobs` that a command line names."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .runners import TimedJobs


class BadApp(ValueError):
    """APP names nothing that could be started."""


def load_jobs(app: str) -> TimedJobs:
    """Return what `package.module:name` or `file.py:name` stands for, the working directory being importable.

    Raises BadApp, naming APP and what it lacks; an exception of the imported code is its cause.
    """
    where, _, name = app.rpartition(":")
    if not where or not name:
        raise BadApp(f"APP must be `package.module:name` or `file.py:name`, not {app!r}.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except BadApp:
        raise
    except ModuleNotFoundError as error:
        raise BadApp(f"APP {app!r} cannot be imported: {error}.") from error
    except Exception as error:
        raise BadApp(f"APP {app!r} failed while it was imported: {type(error).__name__}: {error}") from error
    jobs = getattr(module, name, None)
    if not isinstance(jobs, TimedJobs):
        found = f"{name!r} there is {jobs!r}" if hasattr(module, name) else f"it has no {name!r}"
        raise BadApp(f"APP {app!r} must name a TimedJobs, but {found}.")
    return jobs


def _load_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise BadApp(f"APP file {str(file)!r} does not exist.")
    # As `python file.py` would: what lies beside the file can be imported by it.
    sys.path.insert(0, str(file.resolve().parent))
    name = file.stem if file.stem not in sys.modules else f"conductor_jobs_app_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
