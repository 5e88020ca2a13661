"""The figures of the comparison as a picture: cost of an execution over N, both axes logarithmic."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

Series = Mapping[str, Sequence[tuple[int, float]]]


def draw(series: Series, file: Path, *, emphasised: str) -> None:
    """Write the picture, in the format that the name of the file ends in; one line is drawn heavier than the others.

    Raises ModuleNotFoundError without matplotlib, which the extra `bench` installs.
    """
    # Imported here and untyped: nothing but a picture needs it, and it is large.
    matplotlib: Any = import_module("matplotlib")
    figures: Any = import_module("matplotlib.figure")
    # Text stays text, and the same figures make the same file.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "conductor-jobs", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = figures.Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        for name, points in series.items():
            width = 2.5 if name == emphasised else 1.2
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3 + width, linewidth=width, label=name)
        axes.set(xscale="log", yscale="log", xlabel="N jobs due at once", ylabel="microseconds per execution")
        axes.grid(visible=True, which="both", linewidth=0.3)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(file, facecolor="white", metadata={"Date": None} if file.suffix == ".svg" else None)
