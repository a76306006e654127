"""Trends over many runs: which steps are claimed, and which are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis import changes
from harness.analysis.export import write_samples
from harness.analysis.frames import load_run
from harness.analysis.history import Trend, Wanted, history
from harness.analysis.statistics import success_rate
from harness.errors import UsageError
from harness.report.trend import save_trends
from harness.runs import all_runs
from harness.trend_table import history_json, history_text, sparkline
from tests.command import Place
from tests.synthetic import Plan, make_run

READY = Wanted(metrics=("startup.ready",))
Change = Callable[[dict[str, Any]], None]


def stored(
    folder: Path,
    count: int,
    factor: Callable[[int], float],
    change: dict[int, Change] | None = None,
) -> list[Path]:
    """Runs a day apart, in which every value of bare's READY is multiplied by `factor(day)`."""
    made = []
    manifest: dict[str, Any] = {}
    for day in range(count):
        name = folder / f"run-{day:03d}"
        run = load_run(make_run(name, Plan(runtimes=("bare",), blocks=6, seed=day, memory=False)))
        (name / "journal.jsonl").unlink()
        samples = run.samples.copy()
        samples.loc[samples["metric"] == "startup.ready", "value"] *= factor(day)
        write_samples(replace(run, samples=samples), name)
        fresh = json.loads((name / "manifest.json").read_text())
        manifest = {**fresh, "host": {**fresh["host"], **manifest.get("host", {})}}
        for said in ("tarebench", "runtimes"):
            manifest[said] = json.loads(json.dumps(manifest[said]))
        for when, edit in (change or {}).items():
            if day >= when:
                edit(manifest)
        manifest["started_utc"] = f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T10:00:00+00:00"
        (name / "manifest.json").write_text(json.dumps(manifest))
        made.append(name)
    return made


def kernel(text: str) -> Change:
    """Another kernel from then on."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["host"]["kernel"] = text

    return edit


def only(paths: Sequence[Path], wanted: Wanted = READY) -> Trend:
    (trend,) = history(paths, wanted).trends
    return trend


def test_a_step_is_found_told_and_dated(tmp_path: Path) -> None:
    runs = stored(tmp_path, 12, lambda day: 2.0 if day >= 7 else 1.0, {7: kernel("6.19.0")})
    trend = only(runs)
    (change,) = trend.changes
    assert (change.position, change.runs_before, change.runs_after) == (7, 7, 5)
    assert change.verdict == "worse"
    assert change.ratio == pytest.approx(2, rel=0.2)
    assert change.changed == ("kernel 6.18.0 → 6.19.0",)
    text = history_text(history(runs, READY), 80)
    assert "Since 2026-01-08" in text
    assert "kernel 6.18.0 → 6.19.0" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_faster_runtime_is_better_and_a_small_step_small(tmp_path: Path) -> None:
    runs = stored(tmp_path / "a", 12, lambda day: 0.5 if day >= 6 else 1.0)
    assert [c.verdict for c in only(runs).changes] == ["better"]
    values = [1.0 + 0.001 * (day % 3) + (0.05 if day >= 6 else 0) for day in range(12)]
    runs = stored(tmp_path / "b", 12, lambda day: 1.0)
    for day, path in enumerate(runs):
        run = load_run(path)
        samples = run.samples.copy()
        samples.loc[samples["metric"] == "startup.ready", "value"] = values[day]
        write_samples(replace(run, samples=samples), path)
    assert [c.verdict for c in only(runs).changes] == ["small"]


def test_few_runs_make_no_claim(tmp_path: Path) -> None:
    trend = only(stored(tmp_path, 7, lambda day: 9.0 if day > 3 else 1.0))
    assert (trend.changes, trend.p) == ((), None)
    assert trend.why == "7 of the 8 runs that a trend needs"


def test_like_runs_have_no_step(tmp_path: Path) -> None:
    trend = only(stored(tmp_path, 14, lambda day: 1.0))
    assert trend.changes == ()
    assert "chance" in trend.why


def test_unlike_hosts_are_series_of_their_own(tmp_path: Path) -> None:
    def other(manifest: dict[str, Any]) -> None:
        manifest["host"]["cpu_model"] = "Another CPU"

    runs = stored(tmp_path, 16, lambda day: 5.0 if day >= 8 else 1.0, {8: other})
    found = history(runs, READY).trends
    assert [len(trend.points) for trend in found] == [8, 8]
    assert len({trend.host for trend in found}) == 2
    assert all(trend.changes == () for trend in found)


def test_a_run_that_a_guard_blocks_is_shown_and_not_judged(tmp_path: Path) -> None:
    def block(manifest: dict[str, Any]) -> None:
        manifest["guards"] = [{"name": "noise", "severity": "block", "text": "Too noisy."}]

    runs = stored(tmp_path, 12, lambda day: 4.0 if day >= 7 else 1.0, {7: block})
    trend = only(runs)
    assert trend.why == "7 of the 8 runs that a trend needs"
    assert [bool(p.blocked) for p in trend.points] == [False] * 7 + [True] * 5
    assert "not judged: Too noisy." in history_text(history(runs, READY), 80)


def test_what_cannot_be_read_is_counted_and_the_rest_is_told(tmp_path: Path) -> None:
    runs = stored(tmp_path, 3, lambda day: 1.0)
    (runs[1] / "samples.parquet").write_bytes(b"nothing")
    newer = json.loads((runs[2] / "manifest.json").read_text()) | {"schema": 99}
    (runs[2] / "manifest.json").write_text(json.dumps(newer))
    found = history(runs, READY)
    assert [len(t.points) for t in found.trends] == [1]
    assert set(found.left_out) == {str(runs[1]), str(runs[2])}
    assert "left out" in history_text(found, 80)


def test_a_run_named_twice_counts_once(tmp_path: Path) -> None:
    runs = stored(tmp_path, 2, lambda day: 1.0)
    assert len(only([*runs, *runs]).points) == 2


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(metrics=("startup.never",)), "no run has a value of startup.never"),
        (Wanted(runtimes=("kvm",)), "no run has a value of kvm"),
        (Wanted(scenarios=("io",)), "there is no run of io"),
    ],
)
def test_nothing_to_follow_is_one_sentence(tmp_path: Path, wanted: Wanted, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        history(stored(tmp_path, 1, lambda day: 1.0), wanted)
    assert raised.value.hint


def test_a_sparkline_spans_its_range() -> None:
    assert sparkline([1, 2, 3]) == "▁▅█"
    assert sparkline([5, 5]) == "▄▄"


def test_the_json_tells_the_same(tmp_path: Path) -> None:
    found = history(stored(tmp_path, 9, lambda day: 3.0 if day >= 5 else 1.0), READY)
    told = json.loads(json.dumps(history_json(found)))
    (series,) = told["series"]
    assert [run["run"] for run in series["runs"]] == [f"run-{n:03d}" for n in range(9)]
    assert series["changes"][0]["run"] == "run-005"
    assert series["changes"][0]["verdict"] == "worse"


def test_the_command_reads_folders_and_draws(tmp_path: Path) -> None:
    stored(tmp_path / "results" / "runs", 5, lambda day: 1.0)
    more = tmp_path / "elsewhere"
    more.mkdir()
    for path in stored(tmp_path / "more", 10, lambda day: 2.0)[5:]:
        shutil.move(path, more / path.name)
    place = Place(tmp_path)
    said = place.tarebench(
        "history", more, "--metric", "startup.ready", "--json", "--out", "trend.svg"
    )
    assert said.status == 0, said.err
    (series,) = json.loads(said.out)["series"]
    assert [change["run"] for change in series["changes"]] == ["run-005"]
    drawn = (tmp_path / "trend.svg").read_text()
    assert drawn.startswith("<?xml")


def test_a_chart_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    found = history(stored(tmp_path, 1, lambda day: 1.0), READY)
    with pytest.raises(UsageError, match=r"cannot be written as \.doc"):
        save_trends(found, tmp_path / "trend.doc")


def test_hostile_names_are_drawn_and_printed_as_text(tmp_path: Path) -> None:
    (path,) = stored(tmp_path, 1, lambda day: 1.0)
    run = load_run(path)
    for table in (run.samples, run.trials):
        table["runtime"] = table["runtime"].replace("bare", "$x_{$ \x1b[2J<b>")
    write_samples(run, path)
    found = history([path], READY)
    assert "\x1b" not in history_text(found, 80)
    save_trends(found, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_all_runs_takes_runs_and_folders_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = stored(tmp_path / "shelf", 2, lambda day: 1.0)
    assert list(all_runs(["shelf"])) == [Path("shelf") / p.name for p in runs]
    assert list(all_runs([str(runs[0])])) == [runs[0]]
    with pytest.raises(UsageError):
        all_runs(["nowhere"])


# How often it is wrong, and how often it sees: docs/history.md has these figures.


def noise(kind: str, count: int, dice: np.random.Generator) -> np.ndarray[Any, Any]:
    """Medians of runs of one level, with 5 % between runs: even, heavy-tailed, or in two modes."""
    if kind == "normal":
        return np.asarray(np.exp(0.05 * dice.standard_normal(count)))
    if kind == "heavy":
        return np.asarray(np.exp(0.05 * dice.standard_t(2, count)))
    return np.asarray(
        np.exp(0.05 * dice.standard_normal(count) + 0.25 * (dice.random(count) < 0.3))
    )


def claimed(values: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """The steps that one series alone would be told."""
    told = [float(value) for value in values]
    p = changes.one_level(told).p
    return changes.places(told) if p is not None and p <= changes.LEVEL else ()


@pytest.mark.parametrize("kind", ["normal", "heavy", "modes"])
def test_like_runs_seldom_have_a_step(kind: str) -> None:
    dice = np.random.default_rng(1)
    tries = 150
    false = sum(bool(claimed(noise(kind, 20, dice))) for _ in range(tries))
    interval = success_rate(false, tries)
    assert interval is not None
    assert interval.low <= 0.05, f"{false} of {tries}"


def test_a_step_of_a_fifth_is_seen_and_placed() -> None:
    dice = np.random.default_rng(2)
    tries, seen = 60, 0
    for _ in range(tries):
        values = noise("normal", 20, dice)
        values[12:] *= 1.2
        seen += any(abs(place - 12) <= 1 for place in claimed(values))
    assert seen >= 0.8 * tries


def test_an_odd_run_is_no_level() -> None:
    values = 1 + 0.01 * np.random.default_rng(3).random(20)
    values[9] = 3.0
    assert claimed(values) == ()
