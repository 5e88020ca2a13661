"""The dashboard and the alert rules name what there is, and mean what they say."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import trio
import yaml
from trio.testing import MockClock

from conductor_jobs import Conductor, Every, TickContext
from conductor_jobs.metrics import ConductorMetrics
from conductor_jobs.stores.memory import MemoryLeaseStore

from .support import make_jobs, noop

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy/prometheus/alerts.yml"
TESTS_OF_RULES = RULES.with_name("alerts_test.yml")
DASHBOARD = ROOT / "deploy/grafana/conductor-jobs.json"
DOCS = (ROOT / "docs/metrics.md").read_text()
# What Prometheus adds to whatever it scrapes.
OF_THE_SCRAPE = {"job", "instance"}


async def fails(ctx: TickContext) -> None:
    raise ValueError("bad customer")


async def exposed() -> tuple[ConductorMetrics, bytes]:
    """Return the metrics of a conductor that has done a little of everything."""
    jobs = make_jobs(noop, fails)
    jobs.register_runner("report", noop, schedule=Every(3600.0))
    conductor = Conductor(jobs, store=MemoryLeaseStore(), boot_clock=lambda: 0.0, wall_clock=lambda: 1e9)
    with ConductorMetrics(conductor) as metrics:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(metrics.run)
            await nursery.start(conductor.run)
            await conductor.wait_leader()
            await conductor.run_tick()
            await trio.sleep(20)
            text = metrics.exposition()
            nursery.cancel_scope.cancel()
    return metrics, text


@pytest.fixture(scope="module")
def metrics() -> tuple[ConductorMetrics, bytes]:
    return trio.run(exposed, clock=MockClock(autojump_threshold=0))


@pytest.fixture(scope="module")
def labels_of(metrics: tuple[ConductorMetrics, bytes]) -> Mapping[str, set[str]]:
    """Return the labels that each sample name has."""
    samples = [sample for family in metrics[0].registry.collect() for sample in family.samples]
    return {sample.name: set(sample.labels) | OF_THE_SCRAPE for sample in samples}


def rules() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def of_dashboard() -> Iterator[str]:
    board = dashboard()
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (annotation["expr"] for annotation in board["annotations"]["list"])


def parts(node: object) -> Iterator[Any]:
    """Return an expression of PromQL and all that it is made of."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from parts(child)
    for argument in getattr(node, "args", ()):
        yield from parts(argument)


def require_known(text: str, labels_of: Mapping[str, set[str]]) -> None:
    found = False
    for part in parts(promql_parser.parse(text.replace("$__rate_interval", "5m"))):
        if isinstance(part, promql_parser.VectorSelector):
            found = True
            assert part.name is not None
            assert part.name in labels_of, text
            matched = {matcher.name for matcher in part.matchers.matchers}
            assert matched <= labels_of[part.name], text
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            assert set(part.modifier.labels) <= set.union(*labels_of.values()), text
    assert found, text


@pytest.mark.parametrize("alert", rules())
def test_an_alert_asks_for_what_there_is(alert: str, labels_of: Mapping[str, set[str]]) -> None:
    rule = rules()[alert]
    require_known(rule["expr"], labels_of)
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"].endswith(".")
    # Its text names no label that its expression has taken away.
    named = {label for text in rule["annotations"].values() for label in re.findall(r"\$labels\.(\w+)", text)}
    assert named <= set.union(*labels_of.values())


def test_every_alert_is_explained() -> None:
    explained = re.findall(r"^\*\*(ConductorJobs\w+)\*\*", DOCS, re.MULTILINE)
    assert explained == list(rules())


def test_the_dashboard_asks_for_what_there_is(labels_of: Mapping[str, set[str]]) -> None:
    asked = list(of_dashboard())
    assert len(asked) > 20
    for text in asked:
        require_known(text, labels_of)
    for variable in dashboard()["templating"]["list"]:
        for name in re.findall(r"conductor_jobs_\w+", str(variable.get("definition"))):
            assert name in labels_of


def test_a_metric_that_there_is_not_would_be_noticed(labels_of: Mapping[str, set[str]]) -> None:
    for text in ("rate(conductor_jobs_tick_total[5m])", 'sum(conductor_jobs_leader{runner="a"})', "1 + 1"):
        with pytest.raises(AssertionError):
            require_known(text, labels_of)


def test_the_panels_of_the_dashboard_lie_beside_each_other() -> None:
    board = dashboard()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_every_metric_is_in_the_table_of_the_docs(metrics: tuple[ConductorMetrics, bytes]) -> None:
    rows = re.findall(r"^\| `(conductor_jobs_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCS, re.MULTILINE)
    collected = []
    for family in metrics[0].registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        shown = ", ".join(f"`{label}`" for label in labels if label not in ("lease", "le"))
        collected.append((name, family.type, shown, family.documentation))
    assert rows == collected


PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool, which is in Debian's package `prometheus`")


def promtool(*arguments: str, given: bytes = b"") -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, cwd=RULES.parent)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@needs_promtool
def test_promtool_finds_no_fault_with_the_rules() -> None:
    promtool("check", "rules", RULES.name)


@needs_promtool
def test_the_rules_fire_when_they_should() -> None:
    promtool("test", "rules", TESTS_OF_RULES.name)


@needs_promtool
def test_promtool_finds_no_fault_with_the_metrics(metrics: tuple[ConductorMetrics, bytes]) -> None:
    promtool("check", "metrics", given=metrics[1])
