"""The package is what its door says: its exports, and imports that run one way."""

import ast
import re
from pathlib import Path

import conductor_jobs

PACKAGE = Path(conductor_jobs.__file__).parent
EXPORTS = """
Conductor ConductorStatus ConductorStopped Cron Every Holder JournalEntry LeaseGrant LeaseLost LeaseStore LeaseTiming
Node Retry RunnerResult RunnerStatus StaleTerm Term TickContext TickDecision TickResult TickTrigger TimedJobs
TimedJobsConfig
read_journal run_in_thread
"""
COMMAND = ("rules", "config", "runtime", "cli_store", "cli_start", "cli_nodes", "cli_runners", "cli_control_api")
STORES_MAY_IMPORT = {"clocks", "errors", "failures", "lease", "records", "runner_records", "seconds"}


def imports(module: Path) -> set[str]:
    """Return the modules of ours that a module imports, as dotted names below the package."""
    package = "" if module.parent == PACKAGE else f"{module.parent.name}."
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            prefix = package if node.level == 1 else ""
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {f"{prefix}{name}" for name in names}
    return found


def order_at_the_door() -> list[str]:
    """Return the modules in the order in which the package's docstring lists them."""
    table = (conductor_jobs.__doc__ or "").partition("above it:\n")[2].partition("\n\n`docs")[0]
    rows = [line.strip() for line in table.splitlines() if re.match(r" {4}\S", line)]
    return [name.rstrip("/") for row in rows for name in re.split("  +", row)[0].split(", ")]


def test_the_exports_are_exactly_the_public_names() -> None:
    assert set(conductor_jobs.__all__) == {*EXPORTS.split(), "__version__"}
    assert all(hasattr(conductor_jobs, name) for name in conductor_jobs.__all__)


def test_the_door_lists_every_module() -> None:
    listed = set(order_at_the_door())
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "_version"}
    unlisted = {name for name in modules if name not in listed and not name.startswith("journal_")}
    assert unlisted == set()


def test_a_module_imports_only_what_stands_above_it() -> None:
    order = order_at_the_door()
    place = {name: order.index(name) for name in order if name != "journal_*"}
    place |= {path.stem: order.index("journal_*") for path in PACKAGE.glob("journal_*.py")}
    for name in place:
        folder = PACKAGE / name
        for file in folder.glob("*.py") if folder.is_dir() else [PACKAGE / f"{name}.py"]:
            if file.is_file():
                imported = {each.split(".")[0] for each in imports(file)}
                below = {each for each in imported & place.keys() if place[each] > place[name]}
                assert below == set(), f"{file.name} imports {below}"


def test_stores_import_no_engine_and_the_engine_no_store() -> None:
    for store in (PACKAGE / "stores").glob("*.py"):
        beyond = {each for each in imports(store) if not each.startswith("stores.")}
        assert beyond <= STORES_MAY_IMPORT, store
    for module in PACKAGE.glob("*.py"):
        if module.stem not in COMMAND:
            assert not any(each.startswith("stores") for each in imports(module)), module
