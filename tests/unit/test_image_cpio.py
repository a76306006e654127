"""The initramfs archive: the same bytes each time, and devices without being root."""

from __future__ import annotations

import itertools

from harness.image import cpio

NODES = [
    cpio.file("lib/m.ko", b"12345"),
    cpio.character_device("dev/console", 5, 1),
    cpio.file("init", b"#!", 0o755),
    cpio.directory("lib"),
    cpio.directory("dev"),
]


def read(archive: bytes) -> list[tuple[str, list[int], bytes]]:
    """Each entry's name, its thirteen header fields and its data, as the kernel reads them."""
    entries, at = [], 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        at = (at + 110 + fields[11] + 3) & ~3
        entries.append((name, fields, archive[at : at + fields[6]]))
        at = (at + fields[6] + 3) & ~3
    return entries


def test_entries_are_sorted_and_end_with_the_trailer() -> None:
    names = [name for name, _, _ in read(cpio.archive(NODES))]
    assert names == ["dev", "dev/console", "init", "lib", "lib/m.ko", "TRAILER!!!"]


def test_the_order_of_the_nodes_does_not_matter() -> None:
    archives = {cpio.archive(order) for order in itertools.permutations(NODES)}
    assert len(archives) == 1


def test_modes_data_devices_and_dates() -> None:
    entries = {name: (fields, data) for name, fields, data in read(cpio.archive(NODES))}
    assert entries["init"][0][1] == 0o100755
    assert entries["init"][1] == b"#!"
    assert entries["lib/m.ko"][1] == b"12345"
    assert entries["dev/console"][0][1] == 0o020600
    assert entries["dev/console"][0][9:11] == [5, 1]
    assert all(fields[5] == 0 for fields, _ in entries.values())
