"""The docs site builds without a warning, every public name has an entry, and a reader's browser fetches nothing."""

import importlib.util
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import conductor_jobs

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TOOLS = ("sphinx", "myst_parser", "furo")
missing = [tool for tool in TOOLS if importlib.util.find_spec(tool) is None]
needs_the_tools = pytest.mark.skipif(bool(missing), reason=f"not installed, see the extra `docs`: {', '.join(missing)}")


def names_with_an_entry() -> set[str]:
    """Return what the page of the package's own names gives an entry of its own."""
    page = (DOCS / "reference/conductor_jobs.rst").read_text()
    return set(re.findall(r"^\.\. (?:auto)?(?:class|function|data|exception):: (\w+)(?:\(\))?$", page, re.MULTILINE))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run([*sphinx, "-d", folder / "read", DOCS, folder / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


# Needs no tools, so that whoever adds a name hears of it at once.
def test_the_reference_has_exactly_the_exported_names() -> None:
    assert names_with_an_entry() == set(conductor_jobs.__all__)


def test_the_reference_has_every_store() -> None:
    page = (DOCS / "reference/stores.rst").read_text()
    shown = set(re.findall(r"^\.\. automodule:: conductor_jobs\.stores\.(\w+)$", page, re.MULTILINE))
    modules = (ROOT / "src/conductor_jobs/stores").glob("*.py")
    stores = {file.stem for file in modules if re.search(r"^class \w+LeaseStore\b", file.read_text(), re.MULTILINE)}
    assert shown == stores
    assert {"memory", "sqlite"} <= stores


@needs_the_tools
def test_the_site_builds_and_every_public_name_can_be_linked_to(site: Path) -> None:
    # Four lines of text, then compressed lines of name, kind and place.
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    entries = set(re.findall(r"^(\S+) py:", inventory, re.MULTILINE))
    wanted = {f"conductor_jobs.{name}" for name in conductor_jobs.__all__}
    wanted |= {
        "conductor_jobs.errors.Unusable",
        "conductor_jobs.stores.open_store",
        "conductor_jobs.stores.memory.MemoryLeaseStore",
        "conductor_jobs.stores.sqlite.SQLiteLeaseStore",
        "conductor_jobs.testing.exercise_lease_store",
        "conductor_jobs.testing.tick_context",
    }
    assert wanted - entries == set()


@needs_the_tools
def test_every_page_of_the_docs_is_on_the_site(site: Path) -> None:
    door = (site / "index.html").read_text()
    assert "Timed jobs that run on" in door
    for page in [*DOCS.glob("*.md"), *DOCS.glob("stores/*.md")]:
        place = page.relative_to(DOCS).with_suffix(".html")
        assert f'href="{place}"' in door or str(place) == "index.html"


@needs_the_tools
def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    assert {tag for page in site.rglob("*.html") for tag in loads.findall(page.read_text())} == set()
