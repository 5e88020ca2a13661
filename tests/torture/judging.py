"""`judge(folder)`: what must not be, in the effects, the journals, the endings and the stderr of all lives."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from conductor_jobs import read_journal
from conductor_jobs.journal import FRAMEWORK, LEASE
from conductor_jobs.testing.effects import Effect, judge_effects
from conductor_jobs.violations import Violation

from .cluster import PATIENCE
from .evidence import Deed, EffectsReader, Folder

Reign = tuple[int, str]


def judge(folder: Folder) -> list[Violation]:
    """Return every violation that the folder shows."""
    effects, deeds = list(EffectsReader(folder.effects).fresh()), folder.deeds()
    reigns = list(_reigns(folder.journal))
    return [
        *judge_effects(effects),
        *judge_deeds(deeds, folder.setup().stop_bound),
        *_judge_reigns(reigns),
        *_judge_owners(effects, reigns),
        *_judge_stderr(folder, deeds),
    ]


def judge_deeds(deeds: Iterable[Deed], stop_bound: float) -> Iterator[Violation]:
    """Yield what a life did not do that it was told to, or did without being told.

    A stop has PATIENCE beside its bound, for a machine that is busy.
    """
    told: dict[str, Deed] = {}
    for deed in deeds:
        if deed.what in ("kill", "restart", "drain"):
            told[deed.life] = deed
        elif deed.what == "stuck":
            yield _violation(deed, "I14", f"{deed.life} was waited for in vain, for {PATIENCE:g} s")
        elif deed.what == "leaderless":
            yield _violation(deed, "I9", f"nobody led for {PATIENCE:g} s, though every node was healthy")
        elif deed.what == "ended":
            yield from _judge_end(deed, told.get(deed.life), stop_bound)


def _judge_end(end: Deed, cause: Deed | None, stop_bound: float) -> Iterator[Violation]:
    if cause is None:
        yield _violation(end, "I5", f"{end.life} ended by itself, with exit code {end.code}")
    elif cause.what == "drain":
        took = end.at - cause.at
        if end.code != 0:
            yield _violation(end, "I14", f"{end.life} was told to stop, and ended with exit code {end.code}")
        if took > stop_bound + PATIENCE:
            yield _violation(end, "I14", f"{end.life} took {took:.1f} s to stop, not {stop_bound:g} s")


def _judge_reigns(reigns: Iterable[Reign]) -> Iterator[Violation]:
    owners: dict[int, str] = {}
    latest: dict[str, int] = {}
    for term, life in reigns:
        if owners.setdefault(term, life) != life:
            yield Violation("journals", "I3", f"term {term} was that of {owners[term]} and of {life}")
        if term <= latest.get(life, 0):
            yield Violation("journals", "I3", f"{life} led in term {term} after term {latest[life]}")
        latest[life] = term


def _judge_owners(effects: Iterable[Effect], reigns: Iterable[Reign]) -> Iterator[Violation]:
    # A journal tells of a term before work of it begins, and its line is in the kernel by then.
    led = set(reigns)
    for term, life in sorted({(effect.term, effect.life) for effect in effects} - led):
        yield Violation("journals", "I17", f"{life} acted in term {term}, and its journal knows of no such term")


def _judge_stderr(folder: Folder, deeds: Iterable[Deed]) -> Iterator[Violation]:
    for life in sorted({deed.life for deed in deeds if deed.what == "started"}):
        if "Traceback" in (text := folder.stderr(life).read_text(errors="replace")):
            yield Violation(str(folder.stderr(life)), "stderr", text.strip().splitlines()[-1])


def _reigns(journal: Path) -> Iterator[Reign]:
    for file in sorted(journal.glob("*.jsonl")):
        life = ""
        for entry in read_journal(file):
            if entry.runner == FRAMEWORK and entry.stage in ("started", "continued"):
                life = entry.details["version"]
            elif entry.runner == LEASE and entry.stage == "leader_started":
                yield entry.details["term"], life


def _violation(deed: Deed, rule: str, what: str) -> Violation:
    return Violation(f"{deed.at:.6f}", rule, what)
