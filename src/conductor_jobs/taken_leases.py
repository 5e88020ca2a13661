"""Which leases conductors of this process run on: two on one would be each other's standby, and never know it."""

import os
import threading
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from typing import Final

from .lease import LeaseStore

_taken: Final[set[tuple[int, Hashable, str]]] = set()
_lock: Final = threading.Lock()


@contextmanager
def taking(store: LeaseStore, lease_name: str) -> Generator[None, None, None]:
    """Keep a lease of a store for one conductor of this process. Raises ValueError if another one has it."""
    # By process, since a fork inherits the set. Stores that keep their leases in one place are equal.
    lease = (os.getpid(), store if isinstance(store, Hashable) else id(store), lease_name)
    with _lock:
        if lease in _taken:
            raise ValueError(
                f"lease_name {lease_name!r} is taken: another conductor of this process runs with it on the same "
                "store; two intervals in one process are two lease names."
            )
        _taken.add(lease)
    try:
        yield
    finally:
        with _lock:
            _taken.discard(lease)
