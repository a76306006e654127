"""Counters of block devices, and which device a file lies on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.probes.disk import Device, Traffic, device_under, own_traffic, parse_stat, traffic

LINE = " 2643667 128041 107846316 3526492 1618432 1253353 140136006 1032248 0 442168 4672998"
NEWER = f"{LINE} 928685 48 95053432 95809 334392 18448\n"


def test_sectors_have_512_bytes_and_flushes_their_own_field() -> None:
    assert parse_stat(NEWER) == Traffic(107846316 * 512, 140136006 * 512, 334392)


def test_an_older_kernel_counts_no_flushes() -> None:
    before = parse_stat(LINE)
    assert before.flushes is None
    assert parse_stat(NEWER).since(before) == Traffic(0, 0, None)


def test_a_span_is_the_difference() -> None:
    assert Traffic(10, 20, 3).since(Traffic(4, 5, 1)) == Traffic(6, 15, 2)


def test_what_is_written_past_the_cache_is_counted_on_the_device_below(tmp_path: Path) -> None:
    device = device_under(tmp_path)
    if device is None:
        pytest.skip("the temporary folder lies on no block device")
    before = traffic(device)
    size = 8 << 20
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(size))
        file.flush()
        os.fsync(file.fileno())
    spent = traffic(device).since(before)
    assert spent.written_bytes >= size
    if device.caches_writes and spent.flushes is not None:
        assert spent.flushes >= 1


def test_memory_and_the_kernels_own_files_lie_on_no_device() -> None:
    for path in (Path("/proc"), Path("/sys")):
        assert device_under(path) is None


def test_a_filesystem_with_numbers_of_its_own_is_found_by_its_mount(tmp_path: Path) -> None:
    """btrfs gives each subvolume a number of no device: /proc stands for one here."""
    devices = [path for path in Path("/dev").iterdir() if path.is_block_device()]
    if not devices:
        pytest.skip("there is no block device")
    number = devices[0].stat().st_rdev
    mounts = f"1 0 0:40 / /proc rw - btrfs {devices[0]} rw\n"
    found = device_under(Path("/proc"), mounts)
    assert found is not None
    assert found.number == f"{os.major(number)}:{os.minor(number)}"
    assert device_under(Path("/proc"), "1 0 0:40 / /proc rw - nfs server:/export rw\n") is None


def test_a_process_that_ends_between_opening_and_reading_has_no_traffic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ended(path: Path) -> str:
        raise ProcessLookupError(3, "No such process", str(path))

    assert own_traffic([os.getpid()]) is not None
    monkeypatch.setattr(Path, "read_text", ended)
    assert own_traffic([os.getpid()]) is None


def test_a_device_says_its_name_and_number() -> None:
    assert str(Device("254:0", "vda")) == "vda (254:0)"
    assert not Device("0:0", "nothing").caches_writes
