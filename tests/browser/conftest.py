"""One browser for all; where there is none the tests are skipped and say why, but in CI they fail."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .apps import write_apps
from .chromium import chromium, must_be_there, why_not
from .nodes import Shown, node

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def browser() -> "Generator[Browser]":
    if (reason := why_not()) is not None:
        if must_be_there():
            pytest.fail(reason)
        pytest.skip(reason)
    with chromium() as browser:
        yield browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_apps(tmp_path)


@pytest.fixture(scope="module")
def shop_folder(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_apps(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def shop(shop_folder: Path) -> Generator[Shown]:
    """One node that leads, for tests that leave it as it was."""
    with node(shop_folder, "shop.py:jobs", "alpha") as shown:
        shown.process.wait_for("leader_started")
        yield shown
