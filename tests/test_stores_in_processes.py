"""Three nodes in three processes on each store: the leader is killed and told to stop, and never do two lead at once.

Ten times each, with a table of how long it took: `python -m tests.torture --server NAME --leaders 10 --ttl 2`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from conductor_jobs.stores.urls import KINDS

from .real_servers.every import STORES, started
from .torture.evidence import EffectsReader, Folder, Setup
from .torture.faults import plan_for_leaders
from .torture.figures import figures
from .torture.torture import Torture

SEED = 7
# etcd takes none below 2 s.
TTL = 2.0


@pytest.mark.parametrize("name", STORES)
async def test_a_leader_that_is_killed_or_told_to_stop_is_succeeded_and_never_do_two_lead_at_once(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    (tmp_path / "server").mkdir()
    with started(name, tmp_path / "server") as url:
        torture = Torture(Setup(SEED, ttl=TTL, store=url), Folder(tmp_path / "evidence"))
        violations = await torture.run(plan_for_leaders(SEED, 1, TTL))
    assert [str(violation) for violation in violations] == []
    deeds = [deed.what for deed in torture.folder.deeds()]
    assert (deeds.count("kill"), deeds.count("drain")) == (1, 1 + torture.setup.nodes)
    assert len({effect.term for effect in EffectsReader(torture.folder.effects).fresh()}) >= 3
    for figure in figures(torture.folder):
        record_property(figure.name, list(figure.seconds))


def test_every_store_of_open_store_is_tried() -> None:
    assert {kind.module for kind in KINDS.values()} == set(STORES) | {"memory"}
