"""A lesson where something lacks: what does is said in a sentence, and every other cell works."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import jupytext
import matplotlib as mpl
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import font_manager

from harness import resources
from harness.analysis import api
from harness.analysis.language import speak
from harness.errors import HarnessError, UsageError
from notebooks.translated import HERE, recoded, strings

LESSON = HERE / "07-what-isolation-is-and-is-not.py"


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """What a notebook's cells run in; what a lesson sets for its notebook is taken back."""
    made = InteractiveShell()  # type: ignore[no-untyped-call]
    with mpl.rc_context({"backend": "agg"}), pd.option_context("display.max_colwidth", None):
        yield made
    speak("en")


def failed(shell: InteractiveShell, cells: list[str]) -> dict[int, BaseException]:
    """Run all cells, as a reader does who goes on after one that failed; those that did."""
    done = {n: shell.run_cell(source) for n, source in enumerate(cells)}  # type: ignore[no-untyped-call]
    return {n: each.error_in_exec for n, each in done.items() if each.error_in_exec}


def code(text: Path) -> list[str]:
    cells = [cell.source for cell in jupytext.read(text).cells if cell.cell_type == "code"]
    return [source.replace("%matplotlib", "# %matplotlib") for source in cells]


def test_a_run_that_lacks_a_metric_is_told_and_the_other_cells_work(
    shell: InteractiveShell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = resources.reference_runs()["isolation"]
    shutil.copytree(whole, tmp_path / "isolation")
    samples = pd.read_parquet(whole / "samples.parquet")
    kept = samples[samples["metric"] != "isolation.calls"]
    kept.to_parquet(tmp_path / "isolation" / "samples.parquet")
    poor = api.load(tmp_path / "isolation")
    monkeypatch.setattr(api, "demo", lambda name: poor)

    cells = code(LESSON)
    found = failed(shell, cells)

    assert sorted(found) == [n for n, source in enumerate(cells) if "isolation.calls" in source]
    assert found
    for error in found.values():
        assert isinstance(error, UsageError)
        assert error.message == f"the run {poor.run} holds no isolation.calls"
        assert "isolation.kernel" in error.hint
    shown = capsys.readouterr().out
    assert shown.count(f"the run {poor.run} holds no isolation.calls\n  hint: ") == len(found)
    assert "Traceback" not in shown


def test_without_a_chinese_font_only_charts_fail_and_say_what_to_install(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])

    cells = [recoded(source, strings(LESSON, "zh")) for source in code(LESSON)]
    found = failed(shell, cells)

    charts = ("guess_figure(", "figure(", "draw(prisoner)")
    drawing = [
        n for n, source in enumerate(cells) if any(f"\n{c}" in f"\n{source}" for c in charts)
    ]
    assert sorted(found) == drawing
    assert len(found) >= 5
    for error in found.values():
        assert isinstance(error, HarnessError)
        assert "no font with Chinese letters" in error.message
    shown = capsys.readouterr().out
    assert shown.count("  hint: install one (Debian: apt install fonts-wqy-microhei)") == len(found)
    assert "Traceback" not in shown
