"""matplotlib's SVG, in which the look of a mark that stands at many places is worked out once.

A chart of a long run has thousands of marks, each an element that tells its look. matplotlib
works that out anew for every one, which is a third of what drawing takes. The file is the same,
to the last byte. `savefig` takes this module as a backend of its own (`BACKEND`).
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG

BACKEND = f"module://{__name__}"


class _Renderer(RendererSVG):
    def draw_markers(self, gc: Any, *where: Any, **face: Any) -> None:
        """Draw a mark at many places, all in one look."""
        looks: list[str] = []

        def look(*asked: Any) -> str:
            looks[:] = looks or [RendererSVG._get_style(self, *asked)]  # type: ignore[no-untyped-call]
            return looks[0]

        vars(self)["_get_style"] = look
        try:
            super().draw_markers(gc, *where, **face)  # type: ignore[no-untyped-call]
        finally:
            del vars(self)["_get_style"]


class FigureCanvas(FigureCanvasSVG):
    """A figure that is saved as SVG into a text in memory."""

    def print_svg(self, filename: StringIO, **said: Any) -> None:
        """As matplotlib's own does it."""
        dpi, restore = self.figure.dpi, said.get("bbox_inches_restore")
        self.figure.dpi = 72
        width, height = self.figure.get_size_inches()
        page = width * 72, height * 72
        vector: Any = _Renderer(*page, filename, image_dpi=dpi, metadata=said.get("metadata"))  # type: ignore[no-untyped-call]
        renderer: Any = MixedModeRenderer(  # type: ignore[no-untyped-call]
            self.figure, width, height, dpi, vector, bbox_inches_restore=restore
        )
        self.figure.draw(renderer)
        renderer.finalize()
