"""matplotlib's SVG, in which a mark that stands at many places is worked out once.

A chart of a long run has thousands of marks, each an element that tells its look. matplotlib
works that out anew for every one, and checks every attribute's letters. The file is the same,
to the last byte. `savefig` takes this module as a backend of its own (`BACKEND`).
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG

BACKEND = f"module://{__name__}"


class _Renderer(RendererSVG):
    def __init__(self, width: float, height: float, file: StringIO, **said: Any) -> None:
        self._file = file
        super().__init__(width, height, file, **said)  # type: ignore[no-untyped-call]

    def draw_markers(self, gc: Any, *where: Any, **face: Any) -> None:
        """Draw a mark at many places: all as the first is written, but for their places."""
        writer: Any = self.writer
        plain, first = writer.element, list[str]()

        def element(tag: str, **said: Any) -> None:
            if tag != "use":
                plain(tag, **said)
                return
            place = 'x="{x}" y="{y}"'.format_map(said["attrib"])
            if not first:
                begin = self._file.tell()
                plain(tag, **said)
                self._file.seek(begin)
                before, _, after = self._file.read().partition(place)
                first[:] = before.rpartition("\n")[2], after
            else:
                self._file.write(f"{first[0]}{place}{first[1]}")

        looks: list[str] = []

        def look(*asked: Any) -> str:
            looks[:] = looks or [RendererSVG._get_style(self, *asked)]  # type: ignore[no-untyped-call]
            return looks[0]

        vars(self)["_get_style"], vars(writer)["element"] = look, element
        try:
            super().draw_markers(gc, *where, **face)  # type: ignore[no-untyped-call]
        finally:
            del vars(self)["_get_style"], vars(writer)["element"]


class FigureCanvas(FigureCanvasSVG):
    """A figure that is saved as SVG into a text in memory."""

    def print_svg(self, filename: StringIO, **said: Any) -> None:
        """As matplotlib's own does it."""
        dpi, restore = self.figure.dpi, said.get("bbox_inches_restore")
        self.figure.dpi = 72
        width, height = self.figure.get_size_inches()
        page = width * 72, height * 72
        vector: Any = _Renderer(*page, filename, image_dpi=dpi, metadata=said.get("metadata"))
        renderer: Any = MixedModeRenderer(  # type: ignore[no-untyped-call]
            self.figure, width, height, dpi, vector, bbox_inches_restore=restore
        )
        self.figure.draw(renderer)
        renderer.finalize()
