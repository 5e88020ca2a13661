"""The docs site: `python -m sphinx -W --keep-going -b html docs build/site`. Nothing is fetched while it is built."""

import inspect
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

import conductor_jobs

ROOT = Path(__file__).parent.parent
# What the README links to as a file of the repository, and the page that includes that file.
PAGES_OF_FILES = {"CHANGELOG.md": "reference/changes.md"}

project = "conductor-jobs"
author = "the conductor-jobs maintainers"
release = version = conductor_jobs.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"conductor-jobs {release}"
myst_enable_extensions = ["colon_fence"]  # for directives: a fence of backticks holds code that tests execute
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autoclass_content = "both"
python_maximum_signature_line_length = 88

# Every type of ours that a signature names has an entry, and so has every `Class.member` that a docstring names, or
# the build fails. Names of others are not looked up, since that would fetch their inventories; nor type variables.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:(?!obj).*", r"(?!conductor_jobs\.).*|conductor_jobs\..*\.(E|F|T|T_co)"),
    (r"py:obj", r"(?!conductor_jobs\.|[A-Z]\w*\.).*"),
]
default_role = "name"


class NameRole(SphinxRole):
    """What docstrings write in single backticks: a link if it is a name of ours, code in any case."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look for a capitalised name in every module, for any other only near by: `run` is many things."""
        code = nodes.literal(self.rawtext, self.text)
        if not re.fullmatch(r"[A-Za-z_][\w.]*", self.text):
            return [code], []
        reference = addnodes.pending_xref(self.rawtext, code, refdomain="py", reftype="obj", reftarget=self.text)
        reference["refdoc"] = self.env.docname
        reference["refwarn"] = True
        for context in ("py:module", "py:class"):
            reference[context] = self.env.ref_context.get(context)
        if self.text[0].isupper():
            reference["refspecific"] = True
        return [reference], []


def show_context_managers(
    _app: Sphinx, _what: str, _name: str, item: object, _options: object, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Let the signature of a `@contextmanager` say what its caller gets, and not how it is written."""
    written = getattr(item, "__wrapped__", None)
    if returns is None or not inspect.isgeneratorfunction(written) or inspect.isgeneratorfunction(item):
        return None
    yielded = re.sub(r"^.*?Generator\[(.*), None, None\]$", r"\1", returns)
    return arguments, f"~contextlib.AbstractContextManager[{yielded}]"


def mend_links(app: Sphinx, path: Path, _parent: str, content: list[str]) -> None:
    """Let the README's links, which are right where it stands, be right on the page that includes it."""

    def on_the_site(link: re.Match[str]) -> str:
        file = link[1]
        return f"]({PAGES_OF_FILES.get(file) or os.path.relpath(ROOT / file, app.srcdir)})"

    if path.name == "README.md":
        content[0] = re.sub(r"\]\((\w[\w./#-]*)\)", on_the_site, content[0])


def setup(app: Sphinx) -> None:
    """Register what is above."""
    app.add_role("name", NameRole())
    app.connect("autodoc-process-signature", show_context_managers)
    app.connect("include-read", mend_links)
