"""Finding what a command line names as APP, and opening it: the runners, and what they are handed as resources."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from .failures import error_text, shown
from .registry import TimedJobs

App = TimedJobs | AbstractAsyncContextManager[tuple[TimedJobs, Any]]


class BadApp(ValueError):
    """APP names nothing that could be started."""


def load_app(app: str) -> App:
    """Return what `package.module:name` or `file.py:name` stands for, the working directory being importable.

    That is a `TimedJobs`, or an async context manager that yields `(jobs, resources)`; a function is called for it.
    Raises BadApp, naming APP and what it lacks; an exception of the imported code is its cause.
    """
    where, _, name = app.rpartition(":")
    if not where or not name or (where.startswith(".") and not where.endswith(".py")):
        raise BadApp(f"APP must be `package.module:name` or `file.py:name`, not {app!r}.")
    module = _import(app, where)
    if not hasattr(module, name):
        raise BadApp(f"APP {app!r} must name a TimedJobs, but there is no {name!r}.")
    found = getattr(module, name)
    if callable(found) and not isinstance(found, (TimedJobs, AbstractAsyncContextManager)):
        found = _call(app, found)
    if isinstance(found, Coroutine):
        found.close()
        raise BadApp(f"APP {app!r} is an async function: decorate it with @asynccontextmanager, and yield.")
    if not isinstance(found, (TimedJobs, AbstractAsyncContextManager)):
        raise BadApp(
            f"APP {app!r} must be a TimedJobs, a function that returns one, or an async context manager that yields "
            f"(jobs, resources), but it is {shown(found)}."
        )
    return found


@asynccontextmanager
async def opened(app: App) -> AsyncGenerator[tuple[TimedJobs, Any], None]:
    """Open an APP around its conductor. Raises BadApp when it yields something else than it should."""
    if isinstance(app, TimedJobs):
        yield app, None
        return
    async with app as given:
        if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[0], TimedJobs):
            raise BadApp(f"APP must yield (jobs, resources) with a TimedJobs, not {shown(given)}.")
        yield given


def _import(app: str, where: str) -> ModuleType:
    try:
        sys.path.insert(0, str(Path.cwd()))
    except FileNotFoundError:
        raise BadApp(f"APP {app!r} cannot be imported: the working directory does not exist.") from None
    try:
        return _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except BadApp:
        raise
    except ModuleNotFoundError as error:
        raise BadApp(f"APP {app!r} cannot be imported: {error}.") from error
    except (Exception, SystemExit) as error:
        raise _failed(app, error) from error


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


def _call(app: str, function: Any) -> object:
    if not _is_callable_without_arguments(function):
        raise BadApp(f"APP {app!r} is a function that takes arguments: name the TimedJobs, or what returns one.")
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise _failed(app, error) from error


def _is_callable_without_arguments(function: Any) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:  # a builtin that tells no signature
        return True
    return True


def _failed(app: str, error: BaseException) -> BadApp:
    return BadApp(f"APP {app!r} failed while it was loaded: {type(error).__name__}: {error_text(error)}")
