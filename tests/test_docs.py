"""Every code block of the README and the docs is executed, as a reader would: in order, in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Document, Example, Region
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
# The two that set up a clone need the network; CI executes them, see below.
SETS_UP = "python3 -m venv"


def code_blocks(document: Path) -> list[tuple[str, str]]:
    """Return language and text of every block, in order."""

    def note(example: Example) -> None:
        raise NotImplementedError

    found: list[tuple[int, str, str]] = []
    for language in ("python", "sh"):
        parsed = Document.parse(str(document), CodeBlockParser(language, note))
        regions: list[Region] = [example.region for example in parsed.examples()]
        found += [(region.start, language, str(region.parsed)) for region in regions]
    return [(language, text) for _, language, text in sorted(found)]


def execute(language: str, text: str, folder: Path) -> None:
    first = text.partition("\n")[0].removeprefix("# ")
    file = folder / (first if first.endswith(".py") else f"block.{language}")
    file.write_text(text)
    command = [sys.executable, str(file)] if language == "python" else ["bash", "-euo", "pipefail", str(file)]
    if file.name.startswith("test_"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("document", ["README.md", *PAGES])
def test_the_code_blocks_of_a_document_run(document: str, tmp_path: Path) -> None:
    for language, text in code_blocks(ROOT / document):
        if not text.startswith(SETS_UP):
            execute(language, text, tmp_path)
    if document == "README.md":
        # What its comment says that the two workers and the kill have printed.
        assert '"term":2' in (tmp_path / "one.jsonl").read_text()
        assert '"term":3' in (tmp_path / "two.jsonl").read_text()


def test_the_design_names_modules_and_tests_that_exist() -> None:
    text = (ROOT / "docs/design.md").read_text()
    tests = set(re.findall(r"`(test_\w+)`", text))
    defined = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert tests
    assert [name for name in sorted(tests) if f"def {name}(" not in defined] == []
    modules = set(re.findall(r"`([a-z_/]+\.py)`", text))
    folders = (ROOT / "src/conductor_jobs", ROOT)
    assert [name for name in sorted(modules) if not any((folder / name).is_file() for folder in folders)] == []


def test_no_block_is_of_a_language_that_nobody_executes() -> None:
    for document in (ROOT / "README.md", *(ROOT / page for page in PAGES)):
        fences = [line for line in document.read_text().splitlines() if line.startswith("```")]
        assert set(fences) <= {"```python", "```sh", "```"}
        assert len(fences) == 2 * len(code_blocks(document))


def test_the_readme_is_short_and_shows_a_job_early() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert lines.index("conductor-jobs start jobs.py:jobs --run-once") < 25


def test_ci_executes_the_two_commands_that_set_up_a_clone() -> None:
    (block,) = [text for _, text in code_blocks(ROOT / "README.md") if text.startswith(SETS_UP)]
    commands = block.strip().splitlines()
    assert len(commands) == 2
    assert all(command.startswith(SETS_UP) for command in commands)
    assert 'grep "^python3 -m venv" README.md' in (ROOT / ".ci/run").read_text()
