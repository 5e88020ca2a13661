"""Lease stores. Each is a module of its own, imported only by whoever uses it.

`memory` serves the conductors of one Trio run; `sqlite` the processes of one machine. A store imports
`conductor_jobs.lease`, the rules in `conductor_jobs.records`, clocks and errors, never the engine.
"""

from ..lease import LeaseStore


def open_store(url: str) -> LeaseStore:
    """Return the store that a URL names: `memory:`, or `sqlite:///PATH`, an absolute PATH making it four slashes.

    Nothing is opened or made yet. Raises ValueError, naming the URL and the rule.
    """
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon and not rest:
        from .memory import MemoryLeaseStore

        return MemoryLeaseStore()
    if scheme == "sqlite" and rest.startswith("///") and len(rest) > len("///"):
        from .sqlite import SQLiteLeaseStore

        return SQLiteLeaseStore(rest.removeprefix("///"))
    raise ValueError(f"store must be `sqlite:///PATH` or `memory:`, not {url!r}.")
