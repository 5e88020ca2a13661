"""Test kit: a journal in memory, wall time on Trio's clock, runners called directly, threads on virtual time.

For the tests of an application's jobs, as for our own; nothing of the engine imports it. `docs/testing.md` shows
each part in use.
"""

from .fakes import MemoryJournal, MockWallClock, threads_inline, tick_context

__all__ = ["MemoryJournal", "MockWallClock", "threads_inline", "tick_context"]
