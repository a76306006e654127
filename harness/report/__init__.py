"""Shows stored runs: one self-contained page of HTML, or Markdown, with charts beside it."""

from __future__ import annotations

from harness.report.architectures import architecture_figure
from harness.report.figures import figure, figures
from harness.report.guesses import guess_figure
from harness.report.style import settings as house_style
from harness.report.writer import build, build_folder

__all__ = [
    "architecture_figure",
    "build",
    "build_folder",
    "figure",
    "figures",
    "guess_figure",
    "house_style",
]
