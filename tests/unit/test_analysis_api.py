"""The door for notebooks: small, lazy, pandas in and out, and its document runs."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import harness.analysis as door
from harness.analysis import (
    RunData,
    answers,
    by_block,
    check_answers,
    check_guesses,
    demo,
    demos,
    fact_table,
    guesses_beside,
    load,
    median,
    medians,
    phase_table,
    published_figures,
    ratio,
    ratios,
    readable,
    rung_table,
)
from harness.analysis.language import speaking
from harness.errors import UsageError
from harness.report import architecture_figure, figure, figures, guess_figure
from tests.synthetic import Plan, make_run

TOP = Path(__file__).resolve().parent.parent.parent
DOCUMENT = TOP / "docs" / "analysis-api.md"
READY = "startup.ready"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return load(make_run(tmp_path_factory.mktemp("runs") / "quick", Plan(phases=False)))


def test_the_door_costs_nothing_until_it_is_used() -> None:
    code = (
        "import sys, harness.analysis as a; heavy = {'pandas', 'numpy', 'scipy', 'matplotlib'}; "
        "print(len(heavy & set(sys.modules)), set(a.__all__) <= set(dir(a)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0 True\n"


def test_everything_at_the_door_is_there_and_nothing_else_is() -> None:
    for name in door.__all__:
        assert getattr(door, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        door.nonsense  # noqa: B018


def test_the_document_names_all_of_it_and_its_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text()
    assert [name for name in door.__all__ if f"`{name}" not in text] == []
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    exec(compile("\n".join(blocks), str(DOCUMENT), "exec"), {"__name__": "document"})
    assert (tmp_path / "startup.png").read_bytes().startswith(b"\x89PNG")


def test_reference_runs_are_there_by_name() -> None:
    assert {"quick", "docker", "ladder"} <= set(demos())
    assert demo().manifest["scenario"]["name"] == "quick"
    with pytest.raises(UsageError, match="no reference run is called 'nonsense'"):
        demo("nonsense")


def test_medians_are_those_of_the_analysis(run: RunData) -> None:
    table = medians(run, READY)
    assert list(table.index) == ["bare", "chroot", "runc", "crun", "docker", "qemu"]
    assert list(table["emulated"]) == [False] * 5 + [True]
    found = median(run.values(READY, "crun"))
    assert found is not None
    assert found.interval is not None
    told = [table[name]["crun"] for name in ("median", "low", "high", "n")]
    assert told == [found.value, found.interval.low, found.interval.high, 10]


def test_blocks_are_rows_and_runtimes_columns(run: RunData) -> None:
    table = by_block(run, READY)
    assert table.shape == (10, 6)
    assert table["crun"].median() == pytest.approx(medians(run, READY)["median"]["crun"])
    memory = by_block(run, "memory.charged", state="idle")
    assert (memory["docker"] > 1e6).all()


def test_ratios_come_with_their_verdict_and_never_for_an_emulated_machine(run: RunData) -> None:
    table = ratios(run, READY)
    assert "bare" not in table.index
    found = ratio(run.values(READY, "docker"), run.values(READY, "bare"))
    assert found is not None
    assert table["ratio"]["docker"] == pytest.approx(found.value)
    assert table["verdict"]["docker"] != "no_conclusion"
    assert table["verdict"]["qemu"] == "no_conclusion"
    assert "emulated" in str(table["why"]["qemu"])


def test_ratios_may_be_over_another_box_but_no_verdict_over_an_emulated_one(run: RunData) -> None:
    over = ratios(run, READY, over="crun")
    assert over["ratio"]["docker"] > 1
    assert over["verdict"]["docker"] == "worse"
    assert over["verdict"]["bare"] == "better"
    memory = ratios(run, "memory.charged", over="docker", state="idle")
    assert memory["ratio"]["crun"] < 1
    assert set(ratios(run, READY, over="qemu")["verdict"]) == {"no_conclusion"}
    with pytest.raises(UsageError, match="of podman"):
        ratios(run, READY, over="podman")


def test_phases_of_a_row_add_up(run: RunData) -> None:
    table = phase_table(run)
    assert np.allclose(table.drop(columns="total").sum(axis=1), table["total"])
    assert not (table.loc["crun"] == 0).any()


def test_guesses_are_scored_and_a_blank_is_told_nothing(run: RunData) -> None:
    truth = medians(run, READY)["median"]
    table = check_guesses(run, READY, {"bare": truth["bare"] * 5, "crun": None, "docker": 0.001})
    assert table["off"]["bare"] == pytest.approx(5)
    assert table["off"]["docker"] == pytest.approx(truth["docker"] / 0.001)
    assert table.loc["crun"].isna().all()
    assert set(readable(table).T["crun"]) == {"–"}
    with pytest.raises(UsageError, match="measured no podman"):
        check_guesses(run, READY, {"podman": 1.0})
    with pytest.raises(UsageError, match="bare is not above 0"):
        check_guesses(run, READY, {"bare": -1.0})


def test_text_has_units(run: RunData) -> None:
    shown = readable(medians(run, READY))
    assert re.fullmatch(r"[\d.]+ (ms|µs)", shown["median"]["bare"])
    assert re.fullmatch(r"[\d.]+ ×", readable(ratios(run, READY))["ratio"]["crun"])
    assert re.fullmatch(r"[\d.]+ MiB", readable(by_block(run, "memory.charged"))["docker"][0])


def test_too_few_blocks_have_no_interval(tmp_path: Path) -> None:
    few = load(make_run(tmp_path / "few", Plan(blocks=3, memory=False, phases=False)))
    table = medians(few, READY)
    assert table["median"].notna().all()
    assert table[["low", "high"]].isna().all(axis=None)
    assert set(readable(table)["low"]) == {"–"}


def test_a_mistyped_name_is_one_sentence_and_no_blank_table(run: RunData, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no startup"):
        medians(run, "startup.redy")
    with pytest.raises(UsageError, match="has state=asleep"):
        by_block(run, "memory.charged", state="asleep")
    with pytest.raises(UsageError, match="has several series"):
        medians(load(make_run(tmp_path / "states", Plan(states=True))), "memory.charged")
    with pytest.raises(UsageError, match="climbed no ladder"):
        rung_table(run)
    with pytest.raises(UsageError, match="kind 'speed'"):
        published_figures("speed")
    with pytest.raises(UsageError, match="no chart 'nonsense'"):
        figure(run, "nonsense")


def test_what_others_published_is_a_table_too() -> None:
    table = published_figures("startup")
    assert set(table["kind"]) == {"startup"}
    assert (table[["span_from", "span_to"]] != "").all(axis=None)
    assert len(published_figures()) > len(table)


def test_answers_are_the_report_s(run: RunData) -> None:
    assert answers(run)[0].startswith("crun is ready in")


def test_charts_are_matplotlib_figures_of_the_report(run: RunData) -> None:
    assert {"startup", "phases", "ecdf", "memory"} <= set(figures(run))
    wide, narrow = figure(run, "startup"), figure(run, "startup", narrow=True)
    assert isinstance(wide, matplotlib.figure.Figure)
    assert narrow.get_figwidth() < wide.get_figwidth()


def test_a_run_is_read_from_its_report_too(run: RunData, tmp_path: Path) -> None:
    from harness.report import build

    build([run], tmp_path / "r.html")
    again = load(str(tmp_path / "r.html"))
    pd.testing.assert_frame_equal(medians(again, READY), medians(run, READY))


def test_a_guess_can_stand_beside_any_column(run: RunData) -> None:
    table = rung_table(demo("ladder"))
    checked = guesses_beside(table, {"control group": 0.001, "crun": None}, "added")
    assert list(checked.columns) == ["guess", "added", "low", "high", "off"]
    assert checked["off"]["control group"] == pytest.approx(table["added"]["control group"] / 0.001)
    assert readable(checked)["guess"]["control group"] == "1.00 ms"
    with pytest.raises(UsageError, match="no column 'adds'"):
        guesses_beside(table, {}, "adds")
    with pytest.raises(UsageError, match="is not above 0"):
        guesses_beside(table, {"crun": math.inf}, "added")
    with pytest.raises(UsageError, match="measured of IPC namespace is not above 0"):
        guesses_beside(table, {"IPC namespace": 0.001}, "added")


def test_answers_are_told_right_or_not_yet_and_never_given_away() -> None:
    right = {"a": 2.0, "b": {"runc", "crun"}, "c": "bare", "d": True}
    given = {"a": 2.05, "b": ["crun", "runc"], "c": "docker"}
    assert list(check_answers(given, right)["is"]) == ["right", "right", "not yet", "owed"]
    told = check_answers({"a": "2", "c": None}, right)
    assert list(told["is"]) == ["not yet", "owed", "owed", "owed"]
    assert "runc" not in told.to_string()
    with pytest.raises(UsageError, match="nobody asked e"):
        check_answers({"e": 1}, right)


@pytest.mark.parametrize("narrow", [False, True])
def test_a_guess_is_drawn_where_it_is_beside_what_was_measured(run: RunData, narrow: bool) -> None:
    truth = medians(run, READY)["median"]
    checked = check_guesses(run, READY, {"bare": 0.5, "crun": None, "docker": 0.001})
    axes = guess_figure(checked, narrow).axes[0]
    at = {
        marker: [float(np.ravel(line.get_xdata())[0]) for line in axes.lines
                 if line.get_marker() == marker]
        for marker in "oD"
    }  # fmt: skip
    assert at["D"] == [0.5, 0.001]
    assert at["o"] == pytest.approx([truth["bare"], truth["docker"]])
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < 0.001 < 0.5 < axes.get_xlim()[1]
    words = [text.get_text() for text in axes.texts]
    assert any("crun" in each for each in words)


def test_a_guess_that_is_owed_draws_no_answer(run: RunData) -> None:
    axes = guess_figure(check_guesses(run, READY, {"bare": None, "crun": None})).axes[0]
    assert [line.get_marker() for line in axes.lines] == []
    assert "no guess yet" in [text.get_text() for text in axes.texts]
    assert list(axes.get_xticks()) == []


def test_facts_are_rows_and_boxes_columns(run: RunData) -> None:
    facts = fact_table(demo("isolation"))
    assert list(facts.loc["escape", ["chroot", "docker"]]) == ["yes", "no (open: ENOENT)"]
    assert facts["what"]["calls.root"] == "System calls that answer root"
    assert int(facts["crun"]["calls.root"]) > 0
    with pytest.raises(UsageError, match="looked into no box"):
        fact_table(run)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_architectures_fit_their_layers(narrow: bool, lang: str) -> None:
    """What stands in a layer or above one stays inside its panel."""
    with speaking(lang):
        made = architecture_figure(narrow)
    assert len(made.axes) == 4
    FigureCanvasAgg(made)
    for axes in made.axes:
        assert len(axes.patches) >= 6
        panel = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.x0 >= panel.x0 - 1, text.get_text()
            assert box.x1 <= panel.x1 + 1, text.get_text()
            assert box.y1 <= made.bbox.y1
