"""The folder of a torture: what was asked for, what was done to the nodes, and what they did and wrote.

Every time in it is seconds on the boot clock, which all processes share. A *life* is one process of a node: `n2.7`
is the seventh of node `n2`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, final

import msgspec

from conductor_jobs import LeaseTiming
from conductor_jobs.clocks import boot_time
from conductor_jobs.testing.effects import Effect

# A line never crosses a page of memory, or kill -9 could cut its write in two.
_EFFECT_SIZE = 128

DeedKind = Literal["started", "kill", "restart", "freeze", "hiccup", "drain", "ended", "stuck", "leaderless"]


@final
class Setup(msgspec.Struct, frozen=True):
    """What was asked for. `broken` names an engine that must be found out. Without `store` there is a SQLite file."""

    seed: int
    nodes: int = 3
    ttl: float = 1.0
    broken: str | None = None
    store: str | None = None
    lease_name: str = "conductor"

    @property
    def drain_timeout(self) -> float:
        """Seconds; shorter than the longest work, so that some drains are cut."""
        return 1.5 * self.ttl

    @property
    def stop_bound(self) -> float:
        """Seconds within which a node that was told to stop has ended, on a machine that is not busy."""
        return self.drain_timeout + LeaseTiming(self.ttl).patience


@final
class Deed(msgspec.Struct, frozen=True):
    """Something that was done to a life, or was seen of it, in a round. `code`: the exit code that it `ended` with.

    `stuck`: it was waited for in vain. `leaderless`: so was a leader's effect, with every node healthy.
    """

    at: float
    round: int
    what: DeedKind
    life: str
    code: int | None


@final
class Folder:
    """Where everything is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own_store = f"sqlite:///{path / 'conductor.db'}"
        self.journal = path / "journal"
        self.effects = path / "effects.jsonl"
        self.ledger = path / "ledger.jsonl"
        self._setup = path / "setup.json"
        self._deeds = path / "deeds.jsonl"
        self._lives = path / "lives"

    def make(self, setup: Setup) -> None:
        """Begin the evidence. Raises FileExistsError where there is some already."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lives.mkdir()
        self.journal.mkdir()
        self.effects.touch()
        self._deeds.touch()
        self._setup.write_bytes(msgspec.json.encode(setup))

    def setup(self) -> Setup:
        return msgspec.json.decode(self._setup.read_bytes(), type=Setup)

    def stdout(self, life: str) -> Path:
        return self._lives / f"{life}.out"

    def stderr(self, life: str) -> Path:
        return self._lives / f"{life}.err"

    def note(self, deed: Deed) -> None:
        with self._deeds.open("ab") as file:
            file.write(msgspec.json.encode(deed) + b"\n")

    def deeds(self) -> list[Deed]:
        with self._deeds.open("rb") as lines:
            return [msgspec.json.decode(line, type=Deed) for line in lines]


@final
class Hand:
    """Through which a life does its effects: one write each, to the one file of all."""

    def __init__(self, file: Path, life: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND)
        self._life = life

    def act(self, term: int, by: str, turned_at: float) -> None:
        """Do an effect of a term, by a named piece of work whose loop had last turned at that moment."""
        os.write(self._file, effect_line(Effect(boot_time(), term, self._life, turned_at), by))


def effect_line(effect: Effect, by: str) -> bytes:
    """Return an effect as a line of the file."""
    line = msgspec.json.encode(msgspec.structs.asdict(effect) | {"by": by})
    assert len(line) < _EFFECT_SIZE
    return line.ljust(_EFFECT_SIZE - 1) + b"\n"


@final
class EffectsReader:
    """Reads the effects that have been written since it was last asked."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0

    def fresh(self) -> Iterator[Effect]:
        """Yield what is new, in the order of writing, which is not quite that of time."""
        with self._file.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = len(data) - len(data) % _EFFECT_SIZE
        self._offset += whole
        for start in range(0, whole, _EFFECT_SIZE):
            yield msgspec.json.decode(data[start : start + _EFFECT_SIZE], type=Effect)
