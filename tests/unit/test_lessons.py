"""The lessons: each runs on what ships, its notebook is its text, and what it says is true."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest

from harness.analysis import (
    by_block,
    demo,
    difference,
    fact_table,
    medians,
    ratio,
    ratios,
    rung_table,
)

TOP = Path(__file__).resolve().parent.parent.parent
FOLDER = TOP / "notebooks"
TEXTS = sorted(FOLDER.glob("[0-9][0-9]-*.py"))
READY = "startup.ready"
MOST_BYTES = 600_000
SOLVED = r"""assert list(\1) == list(right)
assert set(check_answers(\1, right)["is"]) <= {"right", "not yet"}
assert set(check_answers(right, right)["is"]) == {"right"}"""
FILLED = """
import json, multiprocessing, os, runpy, sys, traceback
import harness.analysis.api, harness.report, matplotlib.pyplot

def run(path):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        runpy.run_path(path)
    except BaseException:
        return traceback.format_exc()
    return ""

with multiprocessing.get_context("fork").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
    json.dump(pool.map(run, sys.argv[1:], chunksize=1), sys.stdout)
"""
"""Runs each script in a process of its own, which has loaded already what takes every lesson
seconds to load; as many at a time as there are processors."""
QUANTITY = re.compile(r"\d[\d.]* ?(?:ms|µs|s|MiB|KiB|GiB|milliseconds)\b")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks made anew, where no engine, no KVM and no home folder can be found."""
    folder = tmp_path_factory.mktemp("notebooks")
    kept = ("LANG", "LC_ALL", "VIRTUAL_ENV", "SYSTEMROOT")
    bare = {name: os.environ[name] for name in kept if name in os.environ}
    bare |= {"PATH": str(Path(sys.executable).parent), "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, FOLDER / "build.py", "--lang", "en", "--to", folder],
        cwd=folder, env=bare, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def cells(path: Path) -> list[Any]:
    return list(nbformat.read(path, as_version=4).cells)


def words(cell: Mapping[str, Any]) -> list[str]:
    """What a cell has shown as text; a picture is told by its kind alone."""
    shown = []
    for output in cell.get("outputs", []):
        assert output["output_type"] in ("stream", "display_data", "execute_result"), output
        data = output.get("data", {})
        text = output.get("text", "") if "image/png" not in data else "a picture"
        shown.append(text or str(data.get("text/plain", "")))
    return shown


def numbers(cell: Mapping[str, Any]) -> list[str]:
    """All numbers that a cell has shown as text."""
    return re.findall(r"\d+(?:\.\d+)?", " ".join(words(cell)))


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_is_its_text(text: Path) -> None:
    kept, written = cells(text.with_suffix(".ipynb")), jupytext.read(text).cells
    told = [(cell.cell_type, cell.source) for cell in kept]
    assert told == [(cell.cell_type, cell.source) for cell in written], "run `make lessons`"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_its_notebook_shows_its_numbers(text: Path, fresh: Path) -> None:
    """A sentence may come to be worded otherwise; a number that changes is another lesson."""
    kept, made = cells(text.with_suffix(".ipynb")), cells(fresh / f"{text.stem}.ipynb")
    for old, new in zip(kept, made, strict=True):
        assert len(words(old)) == len(words(new)), f"run `make lessons`\n{new.source}"
        assert numbers(old) == numbers(new), f"run `make lessons`\n{new.source}"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_tells_nothing_of_where_it_was_made(text: Path) -> None:
    path = text.with_suffix(".ipynb")
    raw = path.read_text()
    assert path.stat().st_size < MOST_BYTES
    assert str(TOP) not in raw
    assert not re.search(r"/(?:tmp|root|home|Users)/", raw)
    assert not re.search(r'"(?:execution|iopub|shell)\.', raw)
    for cell in cells(path):
        assert cell.metadata == {}
        assert [o for o in cell.get("outputs", []) if o.get("name") == "stderr"] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_pictures_are_there_and_small(text: Path) -> None:
    shown = [
        o.get("data", {}) for c in cells(text.with_suffix(".ipynb")) for o in c.get("outputs", [])
    ]
    pictures = [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]
    assert len(pictures) >= 5
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert max(map(len, pictures)) < 150_000  # a chart of seven tests, with every block


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_numbers_of_the_run_are_computed_and_not_typed(text: Path) -> None:
    """No quantity with a unit stands in the prose; what a class is asked to guess least of all."""
    prose = "\n".join(c.source for c in jupytext.read(text).cells if c.cell_type == "markdown")
    assert QUANTITY.findall(prose) == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_lesson_has_a_page_for_the_teacher_and_a_line_in_the_list(text: Path) -> None:
    page = (FOLDER / "teacher" / f"{text.stem}.md").read_text()
    assert re.findall(r"^## (.+)$", page, re.M) == ["Time", "Before class", "Pitfalls", "Answers"]
    assert QUANTITY.findall(page) == []
    line = next(x for x in (FOLDER / "README.md").read_text().splitlines() if text.stem in x)
    assert f"({text.stem}.ipynb)" in line
    assert f"(teacher/{text.stem}.md)" in line
    minutes = line.split("|")[3].strip()
    assert f"{minutes} minutes" in page


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What went wrong in each lesson that is filled in, by its name."""
    folder = tmp_path_factory.mktemp("filled")
    for text in TEXTS:
        script = filled_in(text).replace("%matplotlib", "# %matplotlib")
        (folder / text.name).write_text(script)
    done = subprocess.run(
        [sys.executable, "-c", FILLED, *(text.name for text in TEXTS)], cwd=folder,
        env=os.environ | {"MPLBACKEND": "agg"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip((text.stem for text in TEXTS), json.loads(done.stdout), strict=True))


def filled_in(text: Path) -> str:
    """A lesson's code with every guess and answer that it asks for.

    The exercises are there, and whoever gives the right answers is told so.
    """
    code = "\n\n".join(c.source for c in jupytext.read(text).cells if c.cell_type == "code")
    assert len(re.findall(r"\bguess_figure\(", code)) >= 2
    guessed, count = re.subn(r"(?<=: )None(?=,)", "0.05", code)
    assert count >= 4
    whole, exercises = re.subn(r"^check_answers\((\w+), right\)$", SOLVED, guessed, flags=re.M)
    assert exercises >= 1
    return whole


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_lesson_that_is_filled_in_runs_too(text: Path, filled: Mapping[str, str]) -> None:
    """Charts and checks take what a class writes."""
    assert filled[text.stem] == ""


def test_what_the_lesson_before_the_first_says_is_true() -> None:
    facts = fact_table(demo("isolation"))
    containers = ["crun", "docker"]
    assert facts.loc["kernel", ["bare", "chroot", *containers]].nunique() == 1
    assert facts["qemu"]["kernel"] != facts["bare"]["kernel"]
    assert (facts.loc["processes.root", [*containers, "qemu"]] == "0").all()
    assert int(facts["bare"]["processes.root"].split()[0]) > 1
    run = demo("cpu")
    assert run.manifest["host"]["hypervisor"] is True  # "boxes can stand in boxes"
    computing = ratios(run, "cpu.events", test="sysbench cpu", threads="1")
    asking = ratios(run, "cpu.syscalls", test="stress-ng null", threads="1")
    for found in (computing, asking):
        assert found["high"]["qemu"] < 0.5 * found["low"][containers].min()
        assert (found["low"][containers] < 1.1).all()  # "not there", "the same way as everybody"
        assert (found["high"][containers] > 0.9).all()
    assert computing["ratio"][containers].between(0.8, 1.25).all()
    weight = medians(demo("memory"), "memory.charged", state="idle")["median"]
    assert 10 * weight["crun"] < weight["docker"] < weight["qemu"] / 5


def test_what_the_first_lesson_says_is_true_of_its_data() -> None:
    """Its words name no number, but they do say which is larger."""
    ready = medians(demo("quick"), READY)
    assert ready["high"]["bare"] > ready["low"]["chroot"]  # "which two can you not tell apart?"
    assert ready["high"]["chroot"] > ready["low"]["bare"]
    assert ready["high"]["crun"] < ready["low"]["docker"] / 3
    bare = demo("quick").values(READY, "bare")
    assert bare.max() > 2 * bare.median()
    assert demo("quick").manifest["host"]["hypervisor"] is True
    assert ready["emulated"]["qemu"]


def test_what_the_first_lesson_says_of_work_is_true() -> None:
    work = medians(demo("quick"), "startup.cpu")["median"]
    share = work / medians(demo("quick"), READY)["median"]
    assert share["crun"] < 0.7
    assert share["docker"] > 0.85
    assert work["docker"] > 5 * work["crun"]


def test_what_the_first_lesson_says_of_the_ladder_is_true() -> None:
    table = rung_table(demo("ladder"))
    own = table[table["runtime"].str.startswith("spawn") & table["main"]]
    assert own["added"].idxmax() == "control group"
    assert own["low"]["control group"] > 0
    last = own.iloc[-2:]
    assert list(last.index) == ["capabilities", "seccomp"]
    assert (last["low"] < 0).all()
    assert (last["high"] > 0).all()
    assert last["added"].min() < 0
    assert table["added"]["network namespace"] < 0.1 * table["ready"]["Docker, bridge"]


def test_what_the_first_lesson_says_of_docker_s_network_is_true() -> None:
    run = demo("docker")
    ready = medians(run, READY)
    others = ready.loc[["docker", "docker,network=none"]]
    assert (ready["high"]["docker,network=host"] < others["low"]).all()
    bridge = difference(run.values(READY, "docker"), run.values(READY, "docker,network=none"))
    assert bridge is not None
    assert bridge.interval is not None
    assert bridge.interval.low < 0 < bridge.interval.high
    work = medians(run, "startup.cpu")
    others = work.loc[["docker", "docker,network=none"]]
    assert (work["high"]["docker,network=host"] < others["low"]).all()


def test_what_the_second_lesson_says_of_rungs_is_true() -> None:
    table = rung_table(demo("ladder"))
    kernel = table[table["main"] & table["runtime"].str.startswith("spawn")]
    namespaces = [name for name in kernel.index if "namespace" in name]
    added = kernel["added"]
    assert added[namespaces].idxmax() == "network namespace"
    assert added[namespaces].max() < 0.1 * added["control group"]
    assert added["mounts"] > added["mount namespace"]
    assert added["control group"] > table["ready"]["network namespace"]  # all below it together
    assert set(kernel.index[(kernel["low"] < 0) & (kernel["high"] > 0)]) >= {
        "capabilities", "seccomp",
    }  # fmt: skip
    assert table["added"].idxmax() == "Docker, no network"
    assert table["ready"]["seccomp"] < 0.2 * table["ready"]["Docker, bridge"]
    assert table["ready"]["Docker, host network"] < 0.6 * table["ready"]["Docker, no network"]
    for name in ("Docker, bridge", "docker command"):
        assert table["low"][name] < 0 < table["high"][name]


def test_waits_for_a_grace_period_come_in_steps_and_nothing_else_does() -> None:
    trials = by_block(demo("ladder"), "ladder.ready")
    by_hand = [name for name in map(str, trials) if name.startswith("spawn")]
    grouped = [name for name in by_hand if "+cgroup" in name.partition("with=")[2]]
    with_group = trials[grouped].stack().to_numpy()
    without = trials[[n for n in by_hand if n not in grouped]].stack()
    apart = np.arange(0.0015, 0.008, 0.00005)
    gathered = np.abs(np.exp(2j * np.pi * with_group[None, :] / apart[:, None]).mean(axis=1))
    assert gathered.max() > 0.8
    assert apart[gathered.argmax()] == pytest.approx(0.004, rel=0.03)  # a tick at 250 Hz
    assert without.quantile(0.95) < np.quantile(with_group, 0.05)


def test_what_the_second_lesson_says_of_phases_is_true() -> None:
    run = demo("phases")
    kernel, init, ready, firmware = (
        medians(run, f"phases.{mark}")["median"] for mark in ("kernel", "init", "ready", "firmware")
    )
    assert medians(run, "startup.ready")["emulated"].all()
    assert ((init - kernel) > 0.6 * ready).all()
    assert kernel["qemu"] - firmware["qemu"] < 0.1 * ready["qemu"]
    saved = {mark: span["qemu"] - span["qemu,machine=microvm"]
             for mark, span in (("before", kernel), ("kernel", init - kernel))}  # fmt: skip
    assert saved["kernel"] > saved["before"] > 0


def test_the_report_of_warm_beside_cold_is_wrong_and_its_mending_holds() -> None:
    quick, cold = demo("quick"), demo("cold")
    mixed = (
        cold.values(READY, "runc", regime="cold").median() / quick.values(READY, "crun").median()
    )
    alike = [
        ratios(quick, READY, over="crun").loc["runc"],
        ratios(cold, READY, over="crun", regime="cold").loc["runc"],
    ]
    assert all(mixed > 1.4 * each["ratio"] for each in alike)  # "by much less"
    assert all(each["low"] > 1 for each in alike)  # "still quicker"
    assert max(each["low"] for each in alike) < min(each["high"] for each in alike)  # "agree"
    assert demo("quick").manifest["host"]["boot_id"] == cold.manifest["host"]["boot_id"]


def test_the_mean_of_two_modes_is_neither() -> None:
    run = demo("density")
    launches = pd.DataFrame({n: run.values("density.ready", "crun", n=str(n)) for n in range(1, 9)})
    every = launches.stack()
    values = every.to_numpy()
    assert (
        np.abs(values / values.mean() - 1) < 0.1
    ).mean() <= 0.05  # "where hardly any launch does"
    at_once, after_a_stop = launches[[4, 6, 7, 8]].median(), launches[[1, 2, 3, 5]].median()
    assert at_once.max() < 0.6 * after_a_stop.min()


def test_the_report_of_two_years_has_two_spans_and_no_decision() -> None:
    run = demo("docker")
    change = difference(
        run.values(READY, "docker,client=cli,network=host"),
        run.values(READY, "docker,network=host"),
    )
    assert change is not None
    assert change.interval is not None
    assert change.interval.low < 0 < change.interval.high


def test_a_sum_of_rss_counts_what_is_shared_more_than_once() -> None:
    run = demo("memory")
    idle = {
        way: medians(run, f"memory.{way}", state="idle")["median"]
        for way in ("rss", "pss", "charged")
    }
    for name in ("bare,cgroup=on", "crun", "docker"):
        assert idle["rss"][name] > 1.8 * idle["pss"][name]
        assert idle["rss"][name] > 1.8 * idle["charged"][name]


def test_what_is_called_a_virtual_machine_was_emulated() -> None:
    run = demo("quick")
    assert set(run.trials.loc[run.trials["runtime"] == "qemu", "accel"]) == {"tcg"}
    assert ratios(run, READY, over="crun")["verdict"]["qemu"] == "no_conclusion"


def test_what_the_third_lesson_says_of_an_idle_box_is_true() -> None:
    run = demo("memory")
    idle = pd.DataFrame(
        {
            way: medians(run, f"memory.{way}", state="idle")["median"]
            for way in ("rss", "pss", "charged")
        }
    )
    assert (idle.idxmax(axis="columns") == "rss").all()
    charged = idle["charged"]
    assert charged["bare,cgroup=on"] < 0.05 * charged["crun"]
    assert charged["docker"] > 10 * charged[["crun", "runc"]].max()
    for name in (name for name in idle.index if name.startswith("qemu")):
        fall = medians(run, "memory.host_delta", state="idle")["median"][name]
        assert charged[name] == pytest.approx(fall, rel=0.02)
        assert medians(run, "memory.vmm_overhead", state="idle")["median"][name] > fall / 2


def test_what_the_third_lesson_says_of_memory_given_back_is_true() -> None:
    run = demo("memory")
    wrote = 64 * 2**20
    assert run.manifest["scenario"]["experiments"]["memory"]["touched"] == "64 MiB"
    for side in ("charged", "host"):
        back = medians(run, "memory.returned", by="free", side=side)
        assert (back["median"][["bare,cgroup=on", "crun", "runc", "docker"]] > 0.99 * wrote).all()
        assert (back["median"][["qemu", "qemu,balloon=on"]] <= 0).all()
        assert back["median"]["qemu,balloon=reporting"] > 0.7 * wrote
    asked = medians(run, "memory.returned", by="balloon", side="charged")["median"]
    assert asked["qemu,balloon=on"] > 0.7 * wrote


def test_what_the_third_lesson_says_of_sharing_is_true() -> None:
    run = demo("memory")
    first, more = (
        medians(run, f"memory.cache.{which}", state="cache")["median"]
        for which in ("first", "next")
    )
    assert (more[["bare,cgroup=on", "crun", "runc", "docker"]] < 0.01 * first["crun"]).all()
    assert more["qemu"] > 0.95 * first["qemu"]


def test_what_the_fourth_lesson_says_of_slopes_is_true() -> None:
    run = demo("density")
    touched = 4 * 2**20
    assert run.manifest["scenario"]["experiments"]["density"]["touched"] == "4 MiB"
    slope = medians(run, "density.slope")["median"]
    assert slope["crun"] < 1.1 * touched
    assert 1.7 * touched < slope["docker"] < 2 * touched
    steps = (1, 2, 4, 8)
    for name in ("crun", "docker"):
        charged = np.array(
            [medians(run, "density.charged", n=str(n))["median"][name] for n in steps]
        )
        line = np.polyval(np.polyfit(steps, charged, 1), steps)
        assert np.abs(charged / line - 1).max() < 0.02  # "the lines are straight"
    first = medians(run, "density.charged", n="1")["median"]
    fall = medians(run, "density.host_delta", n="1")["median"]
    assert first["docker"] > 1.5 * fall["docker"]  # "at which number of boxes it jumps"
    assert first["docker"] > slope["docker"] > np.polyfit(steps, charged, 1)[0]


def test_what_the_fourth_lesson_says_of_walls_is_true() -> None:
    run = demo("density")
    ended = [each.dimensions["stop"] for each in run.series("density.instances")]
    assert set(ended) == {"max_instances"}
    for name in ("crun", "docker", "qemu"):
        for quantile in ("0.5", "0.99"):
            one, eight = (
                run.values("density.latency", name, n=n, quantile=quantile) for n in ("1", "8")
            )
            found = ratio(eight, one)
            assert found is not None
            assert found.interval is not None
            slower = found.interval.low > 1
            assert slower == (name == "qemu"), (name, quantile)
            assert found.interval.high > 1


def test_what_the_fifth_lesson_says_of_safe_writes_is_true() -> None:
    run = demo("io")
    safe = medians(run, "io.fsync.latency", depth="1", quantile="0.5")
    boxes = safe[~safe["emulated"]]
    assert (boxes["median"] / safe["median"]["bare"]).between(0.8, 1.2).all()
    apart = boxes.index[(boxes["low"] > safe["high"]["bare"])]
    assert list(apart) == ["runc"]  # by a hair, as the teacher's page says
    for name in ("runc", "docker"):
        layer, volume = boxes.loc[name], boxes.loc[f"{name},storage=volume"]
        assert max(layer["low"], volume["low"]) < min(layer["high"], volume["high"])
    assert (safe[safe["emulated"]]["low"] > 3 * safe["high"]["bare"]).all()
    job = {"job": "fsync", "depth": "1"}
    factor = (
        medians(run, "io.device_bytes", **job)["median"] / medians(run, "io.bytes", **job)["median"]
    )
    assert (factor[boxes.index] < 1.05).all()
    assert factor["qemu"] > factor["qemu,storage=raw"] > 2
    flushes = medians(run, "io.fsync.flushes")["median"] / medians(run, "io.fsync.calls")["median"]
    assert (flushes[boxes.index] == 1).all()
    assert flushes["qemu"] > 1.1


def test_what_the_fifth_lesson_says_of_queues_and_of_the_unexplained_is_true() -> None:
    run = demo("io")
    shallow, deep = (medians(run, "io.randread.iops", depth=d)["median"] for d in ("1", "16"))
    one = medians(run, "io.randread.latency", depth="1", quantile="0.5")
    product = shallow * one["median"]
    assert product[~one["emulated"]].between(0.85, 1.1).all()  # Little's law
    assert product[one["emulated"]].between(0.7, 0.85).all()  # of a mean, which is greater
    assert (deep / shallow).between(1.5, 8).all()  # a gain, and not sixteenfold
    big = medians(run, "io.seqread.bandwidth")
    assert big["low"]["qemu"] > big["high"]["bare"]  # "more quickly than bare metal?"
    job = {"job": "seqread", "depth": "4"}
    moved = medians(run, "io.device_bytes", **job)["median"]
    assert moved["qemu"] == pytest.approx(medians(run, "io.bytes", **job)["median"]["qemu"], 0.01)


CONTAINERS = ["crun", "crun,seccomp=on", "runc", "containerd", "docker", "docker,network=host"]
MACHINES = ["qemu", "qemu,machine=microvm"]


def test_what_the_seventh_lesson_says_of_root_and_of_calls_is_true() -> None:
    run = demo("isolation")
    root = medians(run, "isolation.capabilities", set="effective", view="root")["median"]
    assert 10 < root["crun"] == root["docker"] < root["chroot"] == root["bare"] < 100
    words = run.trials.groupby("runtime", observed=True)["conditions"].last()
    kept, every = (
        set(words[box]["isolation.capabilities.effective.root"].split(", "))
        for box in ("crun", "bare")
    )
    assert kept == set(words["docker"]["isolation.capabilities.effective.root"].split(", "))
    assert {"setuid", "chown", "net_bind_service", "mknod"} <= kept
    assert "sys_admin" in every - kept
    assert words["crun"]["isolation.disk.root"] == "open EPERM"  # made, and not opened
    calls = medians(run, "isolation.calls", view="root")["median"]
    filtered = medians(run, "isolation.seccomp")["median"]
    assert set(filtered.index[filtered > 0]) == {n for n in CONTAINERS if "docker" in n} | {
        "crun,seccomp=on"
    }
    assert calls["crun"] > 0.95 * calls["bare"]  # "hardly any"
    assert calls["crun,seccomp=on"] < calls["crun"]
    assert (calls[CONTAINERS] > 0.5 * calls["bare"]).all()  # "most of the kernel"


def test_what_the_seventh_lesson_says_of_the_matrix_is_true() -> None:
    run = demo("isolation")
    facts = fact_table(run)
    others = [name for name in facts.columns if name not in ("what", *MACHINES)]
    kernel, root = (medians(run, f"isolation.{name}")["median"] for name in ("kernel", "root"))
    assert (kernel[MACHINES] == 1).all()
    assert (root[MACHINES] == 0).all()
    assert (kernel[others] == 0).all()
    assert (root[others] == 1).all()  # "root inside is root outside"
    changed = facts.index[facts["docker"] != facts["docker,network=host"]]
    assert {"namespace", "interfaces", "loopback.user"} <= set(changed) < set(facts.index[:-1])
    by_filter = set(facts.index[facts["crun"] != facts["crun,seccomp=on"]])
    assert {"seccomp", "calls.root", "keys.root", "module.root"} <= by_filter
    limited = medians(run, "isolation.limits")["median"]
    assert set(limited.index[limited == 0]) == {"bare", "chroot", "bwrap"}


def test_what_the_seventh_lesson_says_of_the_jail_is_true() -> None:
    run = demo("isolation")
    escaped = medians(run, "isolation.escape")["median"]
    assert set(escaped.index) == {"chroot", "bwrap", *CONTAINERS, *MACHINES}
    assert set(escaped.index[escaped > 0]) == {"chroot"}
    kinds = medians(run, "isolation.escape")["class"]
    assert kinds["chroot"] == kinds["bwrap"] == "jail"
    for fact in ("disk", "log", "loopback"):
        root, user = (
            medians(run, f"isolation.{fact}", view=view)["median"] for view in ("root", "user")
        )
        assert root["chroot"] == 1
        assert user["chroot"] == (fact == "loopback")
        assert root["bwrap"] == root["crun"] == 0


def test_what_the_sixth_lesson_says_of_its_rounds_is_true() -> None:
    """Its discussions tell what may be; what was measured, its cells alone tell."""
    run = demo("interference")
    loads = {"cpu", "memory", "disk", "fork"}
    series = run.series("interference.slowdown")
    told = [each.dimensions for each in series]
    crun, bare = (
        [each.dimensions for each in series if each.runtime == name] for name in ("crun", "bare")
    )
    assert {each["victim"] for each in told} == {each["aggressor"] for each in told} == loads
    for on in ("on", "off"):
        middle = [d for d in crun if d["limits"] == on and d["quantile"] == "0.5"]
        assert len(middle) == len(loads) ** 2
    assert {each["limits"] for each in bare} == {"off"}
    noted = run.trials[run.trials["experiment"] == "interference"].groupby("runtime", observed=True)
    conditions = noted["conditions"].last()
    for name in ("bare", "crun"):
        assert conditions[name]["workers_off"] == conditions[name]["host_cpus"] > 1
    assert run.manifest["scenario"]["limits"]["cpus"] >= 1
