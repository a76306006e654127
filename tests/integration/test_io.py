"""`io` with real fio on real boxes: figures that fit each other, and every way to fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from harness.errors import HarnessError
from harness.experiments import io
from harness.experiments.bench import Bench, Measurement
from harness.model import MIB, Image, Limits, RuntimeFacts, Storage, StorageKind
from harness.process import run
from harness.settings import Io
from harness.workload import Workload
from runtimes.box import AgentBox
from tests.command import Place
from tests.conftest import runtime_or_skip
from tests.lab import Lab
from tests.tiny import tiny_image

pytestmark = pytest.mark.integration

GIVEN = Limits(memory_bytes=256 * MIB)  # fio and its libraries do not fit into 128 MiB
SHORT = Io(size="8 MiB", runtime_s=0.2, depths=(1, 4))

_TOOLS = r"""
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') + 1;
    if (!strcmp(name, "cat")) {
        char buffer[4096];
        FILE *file = fopen(argv[1], "r");
        size_t n;
        while (file && (n = fread(buffer, 1, sizeof buffer, file)))
            fwrite(buffer, 1, n, stdout);
        return !file;
    }
    char mode[32] = "";
    FILE *file = fopen(MODE, "r");
    if (!file || !fgets(mode, sizeof mode, file))
        return 9;
    if (!strcmp(mode, "garbage"))
        return puts("fio: \x1b[31mhere comes\n no JSON at all") < 0;
    if (!strcmp(mode, "truncated"))
        return puts("{\"fio version\": \"fio-3.33\", \"jobs\": [{\"jobname\"") < 0;
    if (!strcmp(mode, "status")) {
        fputs("fio: the disk is on fire\n", stderr);
        return 3;
    }
    if (!strcmp(mode, "killed"))
        return raise(SIGKILL);
    puts("still at it");
    fflush(stdout);
    pause();
    return 0;
}
"""
"""Programs by the names of those that `io` runs; as fio it does what a file says."""


def bench_of(lab: Lab, name: str, image: Image | None = None) -> Bench:
    runtime = runtime_or_skip(lab, name)
    return Bench(
        runtime=runtime, facts=RuntimeFacts(), image=image or lab.image, limits=GIVEN,
        workload=Workload(["/usr/bin/true"]), outside=(), run_id=lab.place.run_id,
        scratch=lab.place.scratch, state=lab.place.state, group=None,
    )  # fmt: skip


def values(found: Measurement, metric: str) -> list[float]:
    return [sample.value for sample in found.samples if sample.metric == metric]


@pytest.mark.parametrize(
    "name", ["bare", "chroot", pytest.param("qemu,machine=microvm", marks=pytest.mark.slow)]
)
def test_every_byte_of_fio_reaches_the_device(name: str, lab: Lab) -> None:
    found = io.measure(bench_of(lab, name), SHORT)
    assert found.identity.identical
    assert len(values(found, "io.randread.iops")) == len(values(found, "io.randwrite.iops")) == 2
    assert min(values(found, "io.seqread.bandwidth") + values(found, "io.seqwrite.bandwidth")) > 0
    own, box = values(found, "io.bytes"), values(found, "io.box_bytes")
    assert len(own) == len(box) == 7
    for claimed, asked in zip(own, box, strict=True):
        assert asked >= 0.95 * claimed
    if found.conditions["device"] is not None:
        assert len(values(found, "io.device_bytes")) == 7
    if found.conditions["device_write_cache"] and values(found, "io.fsync.flushes"):
        assert values(found, "io.fsync.flushes") >= values(found, "io.fsync.calls")
    p50s = [s for s in found.samples if s.dimensions.get("quantile") == "0.5"]
    assert all(sample.value < 5 for sample in p50s)
    assert p50s


@pytest.fixture(scope="module")
def doctored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Path]:
    """An image whose fio does what the file beside it says."""
    image = tiny_image(tmp_path_factory.mktemp("doctored"))
    mode, source = image.directory / "mode", image.directory / "tools.c"
    source.write_text(_TOOLS)
    run(["cc", "-O1", "-static", f'-DMODE="{mode}"', "-o", image.root / "usr/bin/fio", source])
    (image.root / "usr/bin/cat").hardlink_to(image.root / "usr/bin/fio")
    return image, mode


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("garbage", r"fio printed no JSON; its output ends with: fio: .*no JSON at all"),
        ("truncated", r'JSON cannot be read .*ends with: .*"jobs": \[\{"jobname"'),
        ("status", r"/usr/bin/fio ended with exit status 3; .*the disk is on fire"),
        ("killed", r"/usr/bin/fio ended with signal 9; the end of its output: nothing"),
        ("hang", r"/usr/bin/fio did not end within 0.5 s; .*still at it"),
    ],
)
def test_a_faulty_fio_is_a_reason_with_the_end_of_its_output(
    mode: str, reason: str, doctored: tuple[Image, Path], lab: Lab
) -> None:
    image, file = doctored
    file.write_text(mode)
    with pytest.raises(HarnessError, match=reason):
        io.measure(bench_of(lab, "bare", image), changed(SHORT, timeout_s=0.5))


@pytest.mark.parametrize("name", ["bare", "chroot"])
def test_an_image_without_fio_says_so(name: str, tmp_path: Path, lab: Lab) -> None:
    with pytest.raises((HarnessError, FileNotFoundError), match="usr/bin/cat"):
        io.measure(bench_of(lab, name, tiny_image(tmp_path / "image")), SHORT)


def test_a_full_disk_is_told_in_fios_words(lab: Lab) -> None:
    """The guest's disk has 256 MiB to spare, and fio is asked to write more."""
    with pytest.raises(HarnessError, match="No space left on device"):
        io.measure(bench_of(lab, "qemu,machine=microvm"), changed(SHORT, size=400 * MIB))


def test_memory_is_no_disk(lab: Lab) -> None:
    with lab.instance("chroot") as box:
        assert isinstance(box, AgentBox)
        there = AgentBox(box.agent, box.image, box.pid, Storage("/tmp", StorageKind.LAYER, None))
        with pytest.raises(HarnessError, match=r"/tmp in the box lies in memory \(tmpfs\)"):
            io.find_place(there, SHORT)


@pytest.mark.slow
def test_what_a_cache_served_is_found_out(lab: Lab) -> None:
    """A guest's disk behind the host's page cache, which here is said to be direct."""
    runtime_or_skip(lab, "qemu,cache=writeback,machine=microvm")
    with lab.instance("qemu,cache=writeback,machine=microvm", GIVEN) as box:
        place = io.find_place(box, SHORT)
        assert place.storage.host_cached
        io.lay_out(place, SHORT)
        reads = io.patterns(SHORT)[0]
        assert io.measure_pattern(place, reads, SHORT)
        claimed = replace(place, storage=replace(place.storage, host_cached=False))
        with pytest.raises(io.NotOnTheDevice, match=r"seqread at depth 4: .* but the box asked"):
            io.measure_pattern(claimed, reads, SHORT)


def test_a_failed_trial_is_counted_and_the_run_goes_on(tmp_path: Path) -> None:
    place = Place(tmp_path)
    said = place.tarebench(
        "run", "io", "--runtime", "bare", "--repeat", "2", "--set", "timeout_s=0.01",
        "--set", "experiments.io.size=64 MiB",
    )  # fmt: skip
    assert said.status == 1, said.err
    rows = [row for row in place.rows(said.folder) if row["experiment"] == "io"]
    assert [row["outcome"] for row in rows] == ["failed", "failed"]
    assert all("did not end within 0.01 s" in row["reason"] for row in rows)
    assert "did not end within 0.01 s" in place.told(said.folder)
