"""Ramps of real boxes: they end by a declared rule, and whatever happens nothing is left."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness import registry, resources
from harness.errors import HarnessError, LaunchFailed, RuntimeUnavailable
from harness.experiments import density, watch
from harness.experiments.bench import Bench, Measurement
from harness.imagecheck import built
from harness.journal import records
from harness.model import MIB, Limits, Outcome
from harness.probes import memory as probe
from harness.probes.cgroups import Layout
from harness.settings import Density
from harness.workload import Workload
from tests.command import Place, finish, read_lines
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def bench_of(lab: Lab, name: str, tell: Callable[[str], None] = lambda text: None) -> Bench:
    """A bench of the lab's runtime, as a run makes it."""
    runtime_or_skip(lab, name)
    bench = lab.bench(name, Limits(memory_bytes=128 * MIB))
    return replace(bench, run_id=secrets.token_hex(6), tell=tell, numbers=itertools.count())


def settings(**given: object) -> Density:
    return msgspec.convert({"requests": 20, "reserve": "1 GiB", **given}, Density)


def values(found: Measurement, metric: str, **dimensions: str) -> Mapping[str, float]:
    """Values by the number of instances that they were read at."""
    return {
        sample.dimensions.get("n", ""): sample.value
        for sample in found.samples
        if sample.metric == metric and sample.dimensions.items() >= dimensions.items()
    }


def test_ramp_holds_what_was_asked_for(lab: Lab) -> None:
    before = len(lab.inventory_entries())
    bench = bench_of(lab, "crun")
    found = density.measure(bench, settings(max_instances=24, at_once=4, touched="8 MiB"))
    assert values(found, "density.instances", stop="max_instances") == {"": 24}
    assert 8 * MIB < values(found, "density.slope")[""] < 9 * MIB
    assert len(values(found, "density.ready")) == 24
    assert values(found, "density.rate")[""] > 0
    assert list(values(found, "density.charged")) == ["0", "4", "8", "16", "24"]
    assert list(values(found, "density.latency", quantile="0.5")) == ["4", "8", "16", "24"]
    assert set(values(found, "density.unanswered").values()) == {0}
    assert found.identity.identical
    assert len(lab.inventory_entries()) == before, "all of them are gone"


SERVICES = msgspec.convert(
    tomllib.loads((resources.scenarios() / "workloads.toml").read_text()), dict[str, Workload]
)


@pytest.mark.parametrize(("runtime", "name"), [("crun", "redis"), ("bare", "nginx")])
def test_services_inside_are_asked_and_their_memory_counts(
    lab: Lab, runtime: str, name: str
) -> None:
    bench = replace(bench_of(lab, runtime), workload=SERVICES[name])
    found = density.measure(bench, settings(max_instances=3, touched="1 MiB", requests=60))
    assert found.conditions["asked"] in ("redis-server", "nginx")
    heard = values(found, "density.latency", quantile="0.5", service=found.conditions["asked"])
    assert list(heard) == ["1", "2", "3"]
    assert set(values(found, "density.unanswered").values()) == {0}
    alone = density.measure(bench_of(lab, runtime), settings(max_instances=3, touched="1 MiB"))
    more = values(found, "density.slope")[""] - values(alone, "density.slope")[""]
    assert more > MIB, "the service's own memory is the box's"
    assert found.identity.identical
    assert any(f"/{name}" in path for path in found.identity.files), "by what its link leads to"


def test_service_that_ends_in_the_middle_of_a_ramp_fails_it(lab: Lab) -> None:
    bench = replace(bench_of(lab, "crun", lambda text: kill()), workload=SERVICES["redis"])

    def kill() -> None:
        for mount in Layout.detect().mounts:
            for file in mount.glob(f"{lab.context.cgroup}/tb-{bench.run_id}-*/cgroup.procs"):
                for pid in map(int, file.read_text().split()):
                    if Path(f"/proc/{pid}/comm").read_text() == "redis-server\n":
                        os.kill(pid, signal.SIGKILL)

    before = len(lab.inventory_entries())
    with pytest.raises(HarnessError, match="the service does not listen"):
        density.measure(bench, settings(max_instances=8))
    assert len(lab.inventory_entries()) == before


def test_reserve_of_the_host_is_a_declared_stop(lab: Lab) -> None:
    """Room for some instances of 64 MiB above the reserve, and not for sixty."""
    reserve = (probe.host_memory()["MemAvailable"] - 1024 * MIB) // MIB
    given = settings(max_instances=60, touched="64 MiB", reserve=f"{reserve} MiB", requests=0)
    found = density.measure(bench_of(lab, "crun"), given)
    assert 1 <= values(found, "density.instances", stop="reserve")[""] < 60
    assert f"{reserve} MiB are to stay" in str(found.conditions["stop_text"])


def test_latency_over_its_bound_is_a_declared_stop(lab: Lab) -> None:
    """No answer comes within a microsecond; a hundredth part of requests needs a thousand."""
    given = settings(max_instances=8, requests=1000, requests_per_s=4000.0, latency_bound_s=1e-6)
    found = density.measure(bench_of(lab, "crun"), given)
    assert values(found, "density.instances", stop="latency") == {"": 1}
    assert "and 1e-06 s is the bound" in str(found.conditions["stop_text"])


def test_without_room_for_the_first_there_is_no_ramp(lab: Lab) -> None:
    with pytest.raises(HarnessError, match="no room for the first instance"):
        density.measure(bench_of(lab, "crun"), settings(reserve="1 TiB"))


def test_when_others_take_the_reserve_the_guard_ends_every_instance(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody takes all above it while requests are under way; nobody asks the guard meanwhile."""
    monkeypatch.setattr(watch, "_EMERGENCY", 1.0)
    reserve = (probe.host_memory()["MemAvailable"] - 768 * MIB) // MIB
    hogged: list[bytearray] = []
    before = len(lab.inventory_entries())

    def take(text: str) -> None:
        # what is taken may come from pages that MemAvailable does not count: until it shows
        while probe.host_memory()["MemAvailable"] // MIB > reserve - 128 and len(hogged) < 40:
            hogged.append(bytearray(os.urandom(MIB)) * 256)

    given = settings(max_instances=8, reserve=f"{reserve} MiB", requests=2000)
    with pytest.raises(HarnessError, match="the guard ended all 1 instances at once: "):
        density.measure(bench_of(lab, "crun", take), given)
    assert len(lab.inventory_entries()) == before


def test_failed_launch_fails_unless_it_was_declared_a_stop(lab: Lab) -> None:
    with pytest.raises(LaunchFailed, match="told to fail"):
        density.measure(bench_of(lab, "fake,fail=odd"), settings(at_once=2))
    given = settings(at_once=2, stop_at_failure=True)
    found = density.measure(bench_of(lab, "fake,fail=odd"), given)
    assert values(found, "density.instances", stop="failure") == {"": 1}
    assert found.conditions["stop_text"] == "this fake was told to fail"


def test_box_that_is_lost_in_the_middle_fails_the_ramp_and_the_others_end(lab: Lab) -> None:
    bench = bench_of(lab, "crun", tell=lambda text: kill_the_first())

    def kill_the_first() -> None:
        for mount in Layout.detect().mounts:
            for file in mount.glob(f"{lab.context.cgroup}/tb-{bench.run_id}-0/cgroup.procs"):
                for pid in file.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)

    before = len(lab.inventory_entries())
    with pytest.raises(HarnessError, match=r"instance 1 of \d+ was lost: its process \d+ ended"):
        density.measure(bench, settings(max_instances=40))
    assert len(lab.inventory_entries()) == before


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_cut_off_in_the_middle_nothing_is_left(place: Place, how: signal.Signals) -> None:
    if os.geteuid() != 0 or shutil.which("crun") is None:
        pytest.skip("crun and root are needed")
    run = place.folder / "run"
    command = ["run", "density", "--runtime", "crun", "--repeat", "1", "--out", str(run),
               "--set", "max_instances=500", "--set", "requests=20"]  # fmt: skip
    with place.started(*command) as process:
        for _ in range(2):
            read_lines(process, until=" running, ")
        tokens = place.tokens()
        said = finish(process, how)
    if how is signal.SIGKILL:
        place.tarebench("clean")
        place.wait_until_gone(tokens)
    else:
        assert said.status == 130, said.err
        (record,) = (r for r in records(run) if r.experiment == "density")
        assert record.outcome is Outcome.INTERRUPTED
    assert place.left_behind(tokens) == []
    assert place.tarebench("clean", "--dry-run").out == ""


def test_bad_settings_are_refused(place: Place) -> None:
    for setting, fault in [
        ("max_instances=0", "experiments.density.max_instances: expected `int` >= 1"),
        ("touched=much", "experiments.density: 'much' is not a size"),
        ("latency_bound_s=0.1", "a bound for the latency needs 1000 requests"),
        ("cpu_pressure=2", "experiments.density.cpu_pressure: expected `float` <= 1.0"),
    ]:
        sets = ["--set", setting, *(["--set", "requests=10"] if "latency" in setting else [])]
        said = place.tarebench("run", "density", "--runtime", "fake", *sets)
        assert said.status == 2
        assert fault in said.err, said.err
        assert said.out == ""


@pytest.mark.slow
def test_distinct_images_share_no_page(lab: Lab) -> None:
    """Both read the same files; on copies of the image each instance is charged for its own."""
    slopes = {}
    for images in ("same", "distinct"):
        given = settings(max_instances=2, read="8 MiB", touched="1 MiB", images=images)
        found = density.measure(bench_of(lab, "crun"), given)
        assert found.identity.identical
        slopes[images] = values(found, "density.slope")[""]
    assert slopes["distinct"] - slopes["same"] > 6 * MIB


@pytest.mark.parametrize("name", ["bare", "spawn,with=chroot", "containerd"])
def test_whoever_runs_on_the_images_tree_can_run_on_a_copy(lab: Lab, name: str) -> None:
    given = settings(max_instances=2, images="distinct", requests=0, touched="1 MiB")
    found = density.measure(bench_of(lab, name), given)
    assert values(found, "density.instances", stop="max_instances") == {"": 2}
    assert found.identity.identical


@pytest.mark.parametrize(
    ("name", "why"),
    [("docker", "knows layers by their content"), ("qemu", "past the host's page cache"),
     ("fake", "do not run on the image's own tree")],
)  # fmt: skip
def test_others_are_refused_distinct_images_with_the_reason(lab: Lab, name: str, why: str) -> None:
    runtime = registry.create(name, lab.context)
    density.fits(runtime, settings())
    with pytest.raises(RuntimeUnavailable, match=why):
        density.fits(runtime, settings(images="distinct"))


def test_refusal_of_distinct_images_comes_before_any_trial(place: Place) -> None:
    said = place.tarebench("run", "density", "--runtime", "fake", "--set", "images=distinct")
    assert said.status == 3
    assert "cannot be given distinct images" in said.err
    assert said.out == ""
