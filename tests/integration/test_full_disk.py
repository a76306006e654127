"""A disk that fills up in the middle of a run: finished trials are kept, nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness import paths
from harness.clock import Deadline
from harness.errors import LaunchFailed
from harness.image.build import build
from harness.image.forms import ext4, initramfs, overlay_disk
from harness.image.guest import guest_kernel
from harness.imagecheck import built
from harness.inventory import Inventory
from harness.journal import records
from harness.lab.machine import Boot, Sockets, machines, start
from harness.model import MIB, Outcome
from tests.command import Place, finish, read_lines

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk"),
]


BOOT_S = 120.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of four MiB."""
    disk = tmp_path / "small"
    disk.mkdir()
    options = ["-o", "size=4m,mode=755"]
    subprocess.run(["mount", "-t", "tmpfs", *options, "tarebench-small", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """The disk while not one byte more fits."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        filler.write_bytes(filler.read_bytes() + b"x" * 4096)
    yield
    filler.unlink()


def check_complete(run: Path) -> None:
    plan = json.loads((run / "manifest.json").read_bytes())["plan"]
    stored = [(record.trial, record.outcome) for record in records(run)]
    assert stored == [(trial["trial"], Outcome.OK) for trial in plan]


def test_run_whose_disk_is_full_ends_and_is_resumed(place: Place, small: Path) -> None:
    run = small / "run"
    arguments = ["run", "quick", "--runtime", "fake", "--repeat", "3", "--out", str(run)]
    with place.started(*arguments) as process:
        read_lines(process, until="block 1: ")
        with full(small):
            out, err = process.communicate(timeout=120)
            kept = list(records(run))
            assert process.returncode == 1, err
            assert "could not be stored: No space left on device" in err
            assert "Traceback" not in err
            assert out.strip() == str(run)
            assert kept
    assert place.left_behind(place.tokens()) == []
    assert place.to_clean() == []
    said = place.tarebench("resume", run, "--quiet")
    assert said.status == 0, said.err
    assert list(records(run))[: len(kept)] == kept
    check_complete(run)


@pytest.mark.slow
def test_boxes_without_room_for_their_layers_are_failed_trials(place: Place, small: Path) -> None:
    """The cache's disk is full, where each box has its bundle and its layer; the run goes on."""
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    for name in ("images", "agent"):
        (small / name).symlink_to(paths.cache() / name)
    place.env["TAREBENCH_CACHE"] = str(small)
    run = place.folder / "run"
    arguments = ["run", "quick", "--runtime", "runc", "--repeat", "1", "--out", str(run)]
    with place.started(*arguments) as process:
        read_lines(process, until="trial 1 of")
        tokens = place.tokens()
        with full(small):
            _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    boxed = [record for record in records(run) if record.runtime == "runc"]
    assert Outcome.FAILED in {record.outcome for record in boxed}
    assert all("No space left" in each.reason for each in boxed if each.outcome != Outcome.OK)
    assert place.left_behind(tokens) == []
    assert not any((small / "scratch").glob("*"))
    assert place.tarebench("clean", "--dry-run").out == ""


def test_a_lab_is_not_built_where_it_has_no_room(place: Place, small: Path) -> None:
    said = place.tarebench("lab", "build", env={"TAREBENCH_CACHE": str(small)})
    assert said.status == 3, said.err
    assert "MB free, and building a lab needs" in said.err
    assert list(small.iterdir()) == []
    assert place.to_clean() == []


@pytest.mark.slow
def test_a_lab_whose_disk_is_full_is_stopped_and_says_so(small: Path, tmp_path: Path) -> None:
    """The guest is the image's: to mount its root is to write on it."""
    image, kernel = build(paths.cache()), guest_kernel(paths.cache())
    disk = small / "disk.qcow2"
    overlay_disk(ext4(image), disk)
    words = "console=ttyS0 panic=-1 -- virtio:nobody root:/dev/vda"
    boot = Boot(kernel.vmlinuz, str(initramfs(image, kernel)), words, 256 * MIB, 1)
    with (
        Inventory("lab-full", tmp_path / "inventory") as inventory,
        full(small),
        start("full", boot, disk, Sockets(tmp_path), inventory) as machine,
        pytest.raises(LaunchFailed, match=r"its disk cannot be written \(No space left"),
    ):
        machine.wait_up(Deadline(BOOT_S))
    assert not machines.exists("full", {})


def test_run_is_not_resumed_with_another_scenario(place: Place) -> None:
    scenario, run = place.folder / "mine.toml", place.folder / "run"
    text = 'name = "mine"\ntitle = "t"\nquestion = "q"\n[experiments.startup]\n'
    scenario.write_text(text)
    with place.started("run", str(scenario), "--runtime", "fake,fail=hang", "--out", str(run)) as p:
        read_lines(p, until="trial 1 of")
        assert finish(p, signal.SIGINT).status == 130
    for change, message in (
        (
            lambda: scenario.write_text(text + "[limits]\ncpus = 1\n"),
            f"the scenario {scenario} has",
        ),
        (lambda: edit(run), "the scenario in its manifest was"),
    ):
        change()
        said = place.tarebench("resume", run, "--quiet")
        assert said.status == 2, said.err
        assert f"cannot be resumed: {message} changed since it began" in said.err
        scenario.write_text(text)


def edit(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_bytes())
    manifest["scenario"]["limits"]["cpus"] = 2.0
    (run / "manifest.json").write_text(json.dumps(manifest))
