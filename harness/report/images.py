"""A drawn figure as a file: the same bytes for the same drawing, whole and of the size asked for.

Letters in SVG are paths, so that they show where their font is not; a PDF embeds its fonts
(type 42), so that its text can be searched and copied. An enlarged PDF is drawn as it is under
one scaling matrix, an enlarged SVG in a larger window on the same coordinates.
"""

from __future__ import annotations

import re
from io import BytesIO, StringIO
from typing import Any

from matplotlib.backends.backend_pdf import Op, PdfFile, PdfPages
from matplotlib.figure import Figure, FigureBase

from harness.report.svg import BACKEND

_SIZE = re.compile(rb'(<svg [^>]*?)width="([0-9.]+)pt" height="([0-9.]+)pt"')


def image(figure: FigureBase, form: str, scale: float = 1.0, dpi: int = 200) -> bytes:
    """The figure as `svg`, `png` or `pdf`, `scale` times as large as it was drawn."""
    assert isinstance(figure, Figure)
    buffer = BytesIO()
    if form == "pdf":
        blank: dict[str, Any] = {"Creator": "tarebench", "Producer": None, "CreationDate": None}
        with _Pages(buffer, scale, blank) as pages:
            figure.savefig(pages, format="pdf", facecolor="white")
    elif form == "png":
        figure.savefig(
            buffer, format="png", dpi=dpi * scale, facecolor="white",
            pil_kwargs={"dpi": (dpi, dpi)},
        )  # fmt: skip
    else:
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        text = StringIO()
        figure.savefig(text, format="svg", metadata=nothing, facecolor="white", backend=BACKEND)
        drawn = text.getvalue().encode()
        return _enlarged(drawn, scale) if scale != 1 else drawn
    return buffer.getvalue()


def _enlarged(svg: bytes, scale: float) -> bytes:
    def grown(found: re.Match[bytes]) -> bytes:
        wide, high = (float(found[n]) * scale for n in (2, 3))
        return found[1] + f'width="{wide:.6g}pt" height="{high:.6g}pt"'.encode()

    return _SIZE.sub(grown, svg, count=1)


class _Pages(PdfPages):
    """A PDF whose page and everything on it is enlarged."""

    def __init__(self, file: BytesIO, scale: float, metadata: dict[str, Any]) -> None:
        super().__init__(file, metadata=metadata)
        self._file = _Enlarged(file, metadata, scale)


class _Enlarged(PdfFile):
    def __init__(self, file: BytesIO, metadata: dict[str, Any], scale: float) -> None:
        self._scale = scale
        super().__init__(file, metadata)  # type: ignore[no-untyped-call]

    def newPage(self, width: float, height: float) -> None:
        """Begin a page; all that follows on it is drawn under the scaling matrix."""
        super().newPage(width * self._scale, height * self._scale)  # type: ignore[no-untyped-call]
        matrix = (self._scale, 0, 0, self._scale, 0, 0, Op.concat_matrix)
        self.output(*matrix)  # type: ignore[no-untyped-call]
