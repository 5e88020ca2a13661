"""The page's files, from the folder `page`: read once, and served as they are."""

from importlib import resources
from typing import Final, final

from starlette.responses import Response

from .refusals import HEADERS

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@final
class PageFiles:
    """`/` and what it loads."""

    def __init__(self) -> None:
        folder = resources.files("conductor_jobs.local_api").joinpath("page")
        self._files: dict[str, tuple[bytes, str]] = {}
        for file in folder.iterdir():
            suffix = file.name[file.name.rfind(".") :]
            if suffix in _TYPES:
                path = "/" if file.name == "index.html" else f"/{file.name}"
                self._files[path] = (file.read_bytes(), _TYPES[suffix])

    @property
    def paths(self) -> frozenset[str]:
        """The paths that are answered with a file."""
        return frozenset(self._files)

    def answer(self, path: str) -> Response:
        """Return the file at one of `paths`."""
        content, kind = self._files[path]
        return Response(content, 200, HEADERS | {"content-type": kind})
