"""Four workers, one of which runs the jobs of `wsgi_app`: `gunicorn -c gunicorn_conf.py wsgi_app:app`."""

import signal
from contextlib import ExitStack

from conductor_jobs import run_in_thread

workers = 4
# After this gunicorn kills a worker that is stopping; the conductor may drain for 20 seconds and a little more.
graceful_timeout = 40
# The same for one that is replaced, counted from a sign of life that is up to half as old.
timeout = 80

_conducting = ExitStack()


def post_worker_init(worker: object) -> None:  # noqa: ARG001 - gunicorn looks at the names
    """Start, in a worker: a thread that was started before the fork would not exist here."""
    from wsgi_app import conductor

    _conducting.enter_context(run_in_thread(conductor))


def worker_int(worker: object) -> None:  # noqa: ARG001
    """Let a second signal not cut the drain short: at Ctrl-C the terminal sends one, and gunicorn another."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)


def worker_exit(server: object, worker: object) -> None:  # noqa: ARG001
    """Drain the tick in flight and hand over, in a worker that is leaving."""
    _conducting.close()
