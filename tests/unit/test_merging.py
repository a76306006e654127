"""Many hosts beside each other: what is a property of the box, and what of the laptop."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.export import write_samples
from harness.analysis.frames import RunData, load_run
from harness.analysis.language import speaking
from harness.analysis.merging import Merged, Owner, Row, Wanted, merge, spread
from harness.analysis.statistics import Estimate, Interval, success_rate
from harness.analysis.verdicts import Verdict
from harness.errors import UsageError
from harness.report.merged import document, numbers, terminal, write
from harness.runs import runs_in
from tests.command import Place
from tests.synthetic import Plan, make_run

HOSTS = 30
BOXES = ("bare", "crun", "docker")
Edit = Callable[[dict[str, Any], int], None]


def nothing(manifest: dict[str, Any], number: int) -> None:
    """No further edit."""


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    folder = tmp_path_factory.mktemp("merging") / "one"
    return load_run(make_run(folder, Plan(runtimes=BOXES, blocks=8, memory=False)))


def laptops(
    folder: Path, one: RunData, count: int, engine: Callable[[int], float], edit: Edit = nothing
) -> list[Path]:
    """Runs of hosts of which each is faster or slower in all, and `docker` by `engine` more."""
    made = []
    for number in range(count):
        dice = np.random.default_rng(number)
        name = folder / f"host-{number:02d}"
        name.mkdir(parents=True)
        samples = one.samples.copy()
        timed = samples["metric"].str.startswith("startup.")
        samples.loc[timed, "value"] *= float(np.exp(dice.normal(0, 0.5)))
        samples.loc[timed, "value"] *= np.exp(dice.normal(0, 0.01, int(timed.sum())))
        samples.loc[timed & (samples["runtime"] == "docker"), "value"] *= engine(number)
        manifest = json.loads(json.dumps(one.manifest))
        manifest["run"] = name.name
        manifest["host"] |= {"id": f"laptop {number}", "architecture": "x86_64"}
        manifest["started_utc"] = f"2026-03-{1 + number % 28:02d}T{number:02d}:00:00+00:00"
        edit(manifest, number)
        samples["run"] = name.name
        (name / "manifest.json").write_text(json.dumps(manifest))
        write_samples(replace(one, manifest=manifest, samples=samples), name)
        made.append(name)
    return made


def merged(paths: list[Path], wanted: Wanted | None = None) -> Merged:
    return merge([load_run(path) for path in paths], wanted)


def row(found: Merged, runtime: str, metric: str = "startup.ready") -> Row:
    (only,) = (r for r in found.rows if (r.runtime, r.metric) == (runtime, metric))
    return only


@pytest.fixture(scope="session")
def thirty(tmp_path_factory: pytest.TempPathFactory, one: RunData) -> Merged:
    """Laptops that differ in speed, and of which every second has an engine three times as slow."""
    folder = tmp_path_factory.mktemp("merging") / "thirty"
    return merged(laptops(folder, one, HOSTS, lambda number: 3.0 if number % 2 else 1.0))


def test_the_ratio_is_of_the_box_where_the_laptops_differ_in_speed(thirty: Merged) -> None:
    crun = row(thirty, "crun")
    assert len(crun.values) == HOSTS
    assert crun.value_spread.owner is Owner.LAPTOP
    assert crun.ratio_spread is not None
    assert crun.ratio_spread.owner is Owner.BOX
    assert crun.value_spread.factor is not None
    assert crun.value_spread.factor > 1.5 > (crun.ratio_spread.factor or 9)
    verdict, count, share = crun.agreeing
    assert (verdict, count) == (Verdict.WORSE, HOSTS)
    assert share is not None
    assert share.low == pytest.approx(0.884, abs=0.001)
    assert row(thirty, "bare").ratio is None


def test_a_ratio_that_differs_from_laptop_to_laptop_is_the_laptop_s(thirty: Merged) -> None:
    spread_of_docker = row(thirty, "docker").ratio_spread
    assert spread_of_docker is not None
    assert spread_of_docker.owner is Owner.LAPTOP


def test_few_hosts_decide_nothing_and_say_so(tmp_path: Path, one: RunData) -> None:
    found = merged(laptops(tmp_path, one, 5, lambda number: 1.0))
    crun = row(found, "crun")
    assert crun.value_spread.owner is Owner.UNDECIDED
    assert crun.value_spread.why == "5 of the 6 hosts that a spread needs"
    assert crun.value.interval is None


def test_hosts_are_never_pooled(tmp_path: Path, one: RunData) -> None:
    """A host with ten times the trials weighs as much as any other: the middle is of hosts."""
    found = merged(laptops(tmp_path, one, 7, lambda number: 1.0))
    medians = [value.median.value for value in row(found, "crun").values]
    assert row(found, "crun").value.value == pytest.approx(float(np.median(medians)))
    assert row(found, "crun").value.n == 7


def test_of_one_host_the_newest_run_counts(tmp_path: Path, one: RunData) -> None:
    def same(manifest: dict[str, Any], number: int) -> None:
        if number >= 6:
            manifest["host"]["id"] = "laptop 0"

    paths = laptops(tmp_path, one, 8, lambda number: 1.0, same)
    found = merged([*paths, paths[1]])
    assert len(found.hosts) == 6
    assert found.left_out == {
        "host-00": "host-06 is a newer run of the same host",
        "host-06": "host-07 is a newer run of the same host",
        "host-01 (again)": "the same run was named twice",
    }
    assert len(merged(paths, Wanted(every_run=True)).hosts) == 8


@pytest.mark.parametrize("odd", [0, 3])
@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda m: m["scenario"].update(name="other"), "its scenario is other, and of most"),
        (lambda m: m["image"].update(agent_sha256="f" * 64), "its agent is fff"),
        (lambda m: m["host"].update(architecture="aarch64"), "its architecture is aarch64"),
        (lambda m: m["host"].update(emulated=True), "its processor is emulated"),
    ],
)  # fmt: skip
def test_what_is_unlike_is_left_out_by_name(
    tmp_path: Path, one: RunData, edit: Callable[[dict[str, Any]], None], why: str, odd: int
) -> None:
    """Whichever it is: also the first is held against what most are."""

    def third(manifest: dict[str, Any], number: int) -> None:
        if number == odd:
            edit(manifest)

    found = merged(laptops(tmp_path, one, 7, lambda number: 1.0, third))
    assert len(found.hosts) == 6
    assert found.left_out[f"host-{odd:02d}"].startswith(why)


def test_what_only_qualifies_stays_and_is_counted(tmp_path: Path, one: RunData) -> None:
    def kernels(manifest: dict[str, Any], number: int) -> None:
        manifest["host"]["kernel"] = f"6.{number % 3}.0"

    found = merged(laptops(tmp_path, one, 9, lambda number: 1.0, kernels))
    assert len(found.hosts) == 9
    (kernel,) = (each for each in found.differing if each.name == "kernel")
    assert dict(kernel.values) == {"6.0.0": 3, "6.1.0": 3, "6.2.0": 3}


def test_a_setting_that_refuses_takes_its_own_series_alone(tmp_path: Path, one: RunData) -> None:
    def limits(manifest: dict[str, Any], number: int) -> None:
        if number == 2:
            manifest["runtimes"]["docker"]["accel"] = "other"
            manifest["runtimes"]["docker"]["equality"] = "host budget"
        else:
            manifest["runtimes"]["docker"]["equality"] = "inside budget"

    found = merged(laptops(tmp_path, one, 8, lambda number: 1.0, limits))
    assert len(row(found, "docker").values) == 7
    assert len(row(found, "crun").values) == 8
    assert any("equality: host budget beside inside budget" in text for text in found.refused)


def test_nothing_that_fits_is_told_with_what_there_is(tmp_path: Path, one: RunData) -> None:
    paths = laptops(tmp_path, one, 2, lambda number: 1.0)
    with pytest.raises(UsageError, match=r"no host has a value of cpu\.events"):
        merged(paths, Wanted(metrics=("cpu.events",)))
    with pytest.raises(UsageError, match="no run that tells its host"):
        merge([])


def test_spread_errs_as_rarely_as_it_says() -> None:
    """Thirty hosts whose true spread is the margin: seldom is a side claimed."""
    dice, margin, claimed = np.random.default_rng(0), 1.2, 0
    for _ in range(400):
        known = np.exp(dice.normal(0, np.log(margin) / 1.96, HOSTS))
        own = 0.01
        seen = known * np.exp(dice.normal(0, own, HOSTS))
        hosts = [
            Estimate(v, 10, Interval(v * np.exp(-1.96 * own), v * np.exp(1.96 * own), 0.95))
            for v in map(float, seen)
        ]
        claimed += spread(hosts, margin).owner is not Owner.UNDECIDED
    share = success_rate(claimed, 400)
    assert share is not None
    assert share.low <= 0.05


def test_thirty_hosts_on_a_page_in_a_terminal_and_for_scripts(
    tmp_path: Path, thirty: Merged
) -> None:
    from rich.console import Console

    for lang in ("en", "zh"):
        with speaking(lang):
            write(thirty, tmp_path / f"{lang}.html")
        page = (tmp_path / f"{lang}.html").read_text()
        assert page.count("<picture>") == 2
        assert "default-src &#39;none&#39;" in page
        assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    console = Console(width=80, highlight=False)
    with console.capture() as captured:
        console.print(terminal(thirty))
    shown = captured.get()
    assert max(map(len, shown.splitlines())) <= 80
    assert "is a property of the box in crun and a property of the laptop in docker" in " ".join(
        shown.split()
    )
    (crun,) = (r for r in document(thirty)["rows"] if r["runtime"] == "crun")
    assert len(crun["hosts"]) == HOSTS
    assert crun["ratio_spread"]["owner"] == "the box"
    assert len(numbers(thirty).rows) == HOSTS * len(BOXES)


def test_command_merges_a_folder_of_runs(tmp_path: Path, one: RunData) -> None:
    laptops(tmp_path / "class", one, 3, lambda number: 1.0)
    (tmp_path / "class" / "notes.txt").write_text("no run")
    place = Place(tmp_path)
    done = place.tarebench("merge", "class", "--out", "class.html", "--json")
    assert done.status == 0, done.err
    assert len(json.loads(done.out)["hosts"]) == 3
    assert (tmp_path / "class.html").is_file()
    done = place.tarebench("merge", "nowhere")
    assert (done.status, "there is no run 'nowhere'" in done.err) == (2, True)


def test_folder_of_runs_holds_folders_and_reports(tmp_path: Path, one: RunData) -> None:
    laptops(tmp_path, one, 2, lambda number: 1.0)
    (tmp_path / "sent-by-mail.html").write_text("<html>")
    names = [path.name for path in runs_in(str(tmp_path))]
    assert names == ["host-00", "host-01", "sent-by-mail.html"]
    assert runs_in(str(tmp_path / "host-00")) == [tmp_path / "host-00"]
