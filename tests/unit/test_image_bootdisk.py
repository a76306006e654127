"""The disk with a boot loader: its parts, where they lie, and that one image makes one disk."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.image.bootdisk import copy_sparse, make, missing_packages
from harness.model import MIB
from harness.process import find_program

DIGEST = "0123456789abcdef" * 4
EPOCH = 1_700_000_000


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A root with a hole, a kernel and an initramfs."""
    root = tmp_path / "root"
    with root.open("wb") as file:
        file.write(os.urandom(MIB))
        file.truncate(3 * MIB)
        file.seek(3 * MIB)
        file.write(os.urandom(MIB))
    kernel, ram = tmp_path / "kernel", tmp_path / "ram"
    kernel.write_bytes(os.urandom(3000))
    ram.write_bytes(os.urandom(70_000))
    return root, kernel, ram


def test_data_is_copied_and_holes_stay_holes(tmp_path: Path, parts: tuple[Path, ...]) -> None:
    target = tmp_path / "target"
    with target.open("w+b") as file:
        copy_sparse(parts[0], file.fileno(), 2 * MIB)
    written = target.read_bytes()
    assert written[: 2 * MIB] == bytes(2 * MIB)
    assert written[2 * MIB :] == parts[0].read_bytes()
    assert target.stat().st_blocks * 512 < 3 * MIB


def test_the_disk_holds_its_parts_and_is_the_same_each_time(
    tmp_path: Path, parts: tuple[Path, Path, Path]
) -> None:
    if missing := missing_packages():
        pytest.skip(f"not installed: {', '.join(missing)}")
    disk, again = tmp_path / "disk", tmp_path / "again"
    for target in (disk, again):
        make(target, *parts, DIGEST, EPOCH)
    whole = disk.read_bytes()
    assert whole == again.read_bytes()
    sfdisk = find_program("sfdisk")
    assert sfdisk is not None
    told = subprocess.run([sfdisk, "--json", disk], capture_output=True, check=True)
    table = json.loads(told.stdout)["partitiontable"]
    places = [(row["start"] * 512, row["size"] * 512) for row in table["partitions"]]
    assert [start for start, _ in places] == [1 * MIB, 2 * MIB, 66 * MIB]
    start, size = places[2]
    assert whole[start : start + size] == parts[0].read_bytes()
    assert whole[510:512] == b"\x55\xaa"
    for name, part in {"vmlinuz": parts[1], "initramfs.cpio": parts[2]}.items():
        inside = subprocess.run(
            ["mtype", "-i", f"{disk}@@{2 * MIB}", f"::/{name}"], capture_output=True, check=True
        )
        assert inside.stdout == part.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [path.name for path in (disk, again, *parts)]
    )


def test_another_image_is_another_disk(tmp_path: Path, parts: tuple[Path, Path, Path]) -> None:
    if missing := missing_packages():
        pytest.skip(f"not installed: {', '.join(missing)}")
    make(tmp_path / "one", *parts, DIGEST, EPOCH)
    make(tmp_path / "other", *parts, DIGEST[::-1], EPOCH)
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()
