"""Shows stored runs: one self-contained page of HTML, or Markdown, with charts beside it."""

from __future__ import annotations

from harness.report.writer import build, build_folder

__all__ = ["build", "build_folder"]
