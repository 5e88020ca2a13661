"""Telling the store that this node lives, beside the lease: a failing heartbeat never costs the leadership."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import final

import trio

from .drift import Drift
from .journal import LEASE
from .lease import Node, NodeRegistry, NodeState
from .recorder import Recorder
from .store_calls import call_store, problem_text
from .timing import LeaseTiming


@final
class Heartbeats:
    """The signs of life of one node; `run` sends them for as long as it is left alone."""

    def __init__(
        self,
        registry: NodeRegistry,
        lease_name: str,
        node: Node,
        incarnation: str,
        timing: LeaseTiming,
        recorder: Recorder,
        fingerprint: Callable[[], str],
    ) -> None:
        self._registry = registry
        self._lease_name = lease_name
        self._node = node
        self._incarnation = incarnation
        self._timing = timing
        self._recorder = recorder
        self._fingerprint = fingerprint
        self._failures = 0
        self.drift: Drift = Drift(recorder, timing.heartbeat_interval)

    @trio.lowlevel.enable_ki_protection
    async def run(self, state: Callable[[], NodeState]) -> None:
        """Send one now and then one every heartbeat interval, as leader looking at the others'. Cancelling ends it."""
        while True:
            with self._journaling_failures():
                await self._beat(state())
                await self._look_for_drift(state())
            await trio.sleep(self._timing.heartbeat_interval)

    async def send(self, state: NodeState) -> None:
        """Send one, within the store timeout. A failure is journaled when it is the first in a row."""
        with self._journaling_failures():
            await self._beat(state)

    async def _beat(self, state: NodeState) -> None:
        await call_store(
            lambda: self._registry.heartbeat(
                self._lease_name, self._node, self._incarnation, state, self._fingerprint()
            ),
            self._timing.store_timeout,
        )

    async def _look_for_drift(self, state: NodeState) -> None:
        if state != "leader":
            self.drift.forget()
            return
        nodes = await call_store(lambda: self._registry.nodes(self._lease_name), self._timing.store_timeout)
        self.drift.compare(nodes, self._fingerprint())

    @contextmanager
    def _journaling_failures(self) -> Generator[None, None, None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the node lives on
            self._failures += 1
            if self._failures == 1:
                self._recorder.write(LEASE, "heartbeat_failed", result="failed", error=problem_text(error))
        else:
            self._failures = 0
