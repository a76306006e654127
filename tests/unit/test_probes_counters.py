"""What is read of an instance: the kernel's texts, v1 and v2, and this very process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from harness.probes import counters
from harness.probes.cgroups import UNIFIED, Layout
from harness.probes.counters import (
    Counters,
    Gone,
    HostIo,
    Listed,
    ProcessTree,
    Source,
    of_host,
    of_instance,
)
from harness.series import COUNTERS


def test_kernel_texts() -> None:
    assert counters.number(b"42\n") == (42,)
    assert counters.throttled_v1(b"nr_periods 4\nnr_throttled 2\nthrottled_time 77\n") == (77,)
    text = b"usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nthrottled_usec 9\n"
    assert counters.cpu_v2(text) == (5000, 9000)
    assert counters.cpu_v2(b"usage_usec 5\nuser_usec 3\n") == (5000, 0)
    v1 = b"8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 1\n8:16 Write 2\nTotal 33\n"
    assert counters.blkio(v1) == (11, 22)
    assert counters.blkio(b"Total 0\n") == (0, 0)
    v2 = b"8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n"
    assert counters.io_stat(v2) == (11, 22)
    assert counters.io_stat(b"") == (0, 0)
    io = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\n"
    assert counters.moved(io + b"cancelled_write_bytes: 7\n") == (5, 6)
    net = b"Inter-|\n face |\n    lo: 9 1 0 0 0 0 0 0 9 1\n  eth0: 100 1 0 0 0 0 0 0 50 1\n"
    assert counters.network(net) == (100, 50)
    more = net + b"  veth1: 7 1 0 0 0 0 0 0 7 1\n"
    assert counters.network(more) == (107, 57)
    assert counters.network(more, frozenset({"eth0", "lo"})) == (100, 50)
    assert counters.has_interfaces(net)
    assert not counters.has_interfaces(b"Inter-|\n face |\n    lo: 9 1 0 0 0 0 0 0 9 1\n")
    disks = b"   8 0 sda 1 0 4 0 1 0 2 0\n   8 1 sda1 1 0 4 0 1 0 2 0\n"
    assert counters.host_disks(disks, frozenset({"sda"})) == (2048, 1024)


def test_a_box_that_did_not_run_is_only_looked_at_for_cpu_and_memory(tmp_path: Path) -> None:
    texts = {"cpu": "5", "memory": "10", "disk": "1"}
    names = {"cpu": "cpu_ns", "memory": "memory_bytes", "disk": "read_bytes"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    sources = [
        Source(tmp_path / name, (names[name],), counters.number, always=name != "disk")
        for name in texts
    ]
    found = Counters(sources)
    assert found.names == ("cpu_ns", "memory_bytes", "read_bytes")
    assert found.read() == [5, 10, 1]
    (tmp_path / "memory").write_text("20")
    (tmp_path / "disk").write_text("2")
    assert found.read() == [5, 20, 1]
    (tmp_path / "cpu").write_text("6")
    assert found.read() == [6, 20, 2]
    found.close()
    assert Counters([Source(tmp_path / "none", ("cpu_ns",), counters.number)]).names == ()


def test_what_cannot_be_seen_yet_is_asked_again_though_the_box_has_not_run(tmp_path: Path) -> None:
    class Slow:
        names: tuple[str, ...] = ("write_bytes",)
        answers: ClassVar[list[list[int] | None]] = [[1], None, None, [7], [8]]

        def read(self) -> list[int] | None:
            return self.answers.pop(0)

        def close(self) -> None:
            pass

    used = tmp_path / "cpu"
    used.write_text("5")
    found = Counters([Source(used, ("cpu_ns",), counters.number, always=True)], [Slow()])
    assert [found.read() for _ in range(2)] == [[5, 1], [5, 1]]
    used.write_text("6")
    assert [found.read() for _ in range(4)] == [[6, 1], [6, 1], [6, 7], [6, 7]]
    found.close()


def test_only_a_new_text_is_parsed_and_an_empty_one_is_no_reading(tmp_path: Path) -> None:
    parsed: list[bytes] = []

    def parse(data: bytes) -> tuple[int]:
        parsed.append(data)
        return (int(data),)

    file = tmp_path / "file"
    file.write_text("1")
    kept = Counters([Source(file, ("cpu_ns",), parse, always=True)])
    first = kept.read()
    assert first == kept.read() == [1]
    file.write_text("2")
    assert kept.read() == [2]
    assert first == [1], "what was given out stays as it was"
    assert parsed == [b"1", b"2"]
    kept.close()
    file.write_text("")
    torn = Counters([Source(file, ("cpu_ns",), counters.number, always=True)])
    with pytest.raises(Gone):
        torn.read()
    torn.close()


def test_what_the_kernel_lists_is_read_to_its_end_each_time(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    other.write_text("x")
    file.write_text("a" * 100_000)
    listed = Listed(("cpu_ns", "memory_bytes"), lambda *said: [*map(len, said)], file, other)
    assert listed.read() == [100_000, 1]
    file.write_text("b")
    assert listed.read() == [1, 1]
    listed.close()


def test_own_groups_of_v2_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box, ours = tmp_path / "box", tmp_path
    box.mkdir()
    (box / "cpu.stat").write_text("usage_usec 7\nthrottled_usec 1\n")
    (box / "memory.current").write_text("4096\n")
    (box / "io.stat").write_text("8:0 rbytes=3 wbytes=4\n")
    layout = Layout("v2", {}, tmp_path)
    here = os.getpid()
    places = {here: {UNIFIED: box}, 1: {UNIFIED: ours}}
    monkeypatch.setattr(Layout, "memberships", lambda self, pid: places[pid])
    found = of_instance([here], layout, 1, HostIo())
    assert dict(zip(found.names, found.read(), strict=True)) == {
        "cpu_ns": 7000, "throttled_ns": 1000, "memory_bytes": 4096,
        "read_bytes": 3, "write_bytes": 4,
    }  # fmt: skip
    found.close()


def test_a_box_without_groups_is_read_by_its_processes() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(50 << 20); print('there', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        found = of_instance([child.pid], Layout.detect(), os.getpid(), HostIo())
        said = dict(zip(found.names, found.read(), strict=True))
        assert set(said) <= set(COUNTERS)
        assert said["rss_bytes"] > 50 << 20
        assert said["cpu_ns"] > 0
        child.stdin.close()
        child.wait()
    with pytest.raises(Gone):
        found.read()
    with pytest.raises(Gone):
        of_instance([child.pid], Layout.detect(), os.getpid(), HostIo())
    found.close()


def test_children_count_with_their_parent() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    spin = "x = sum(range(10**7)); print('spun', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        if not list(counters.descendants(child.pid)):
            child.kill()
            pytest.skip("the kernel does not list children")
        alone = ProcessTree([child.pid], ("cpu_ns",))
        with_child = alone.read()[0]
        own = sum(alone._roots[0].cpu_times()[:4])
        assert with_child > own * 1e9 + 1e8
        child.communicate(b"\n")


def test_what_a_box_writes_is_seen_also_where_its_group_does_not_count(tmp_path: Path) -> None:
    """The I/O of a living child, and of one that has ended and was waited for."""
    script = (
        f"dd if=/dev/zero of={tmp_path}/a bs=1M count=2 conv=fsync 2>&1\n"
        "echo one; read answer\n"
        f"dd if=/dev/zero of={tmp_path}/b bs=1M count=3 conv=fsync 2>&1\n"
        "echo two; read answer\n"
    )
    with subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdin is not None
        host = HostIo()
        found = of_instance([shell.pid], Layout.detect(), os.getpid(), host)
        if "write_bytes" not in found.names:
            pytest.skip("the kernel does not tell what a process has written")
        at = found.names.index("write_bytes")
        wrote: list[int] = []
        for word in ("one", "two"):
            while shell.stdout.readline().strip() != word:
                pass
            if wrote:
                assert found.read()[at] == wrote[-1], "the host is looked at once a round"
            host.begin_round()
            wrote.append(found.read()[at])
            shell.stdin.write("\n")
            shell.stdin.flush()
        found.close()
        host.close()
    if not wrote[0]:
        pytest.skip("the temporary folder lies in memory")
    assert 2 << 20 <= wrote[0] < 3 << 20
    assert 5 << 20 <= wrote[1] < 6 << 20


def test_v1_counts_no_disk_where_the_kernel_leaves_it_at_nothing(tmp_path: Path) -> None:
    file = tmp_path / counters.BLKIO
    file.write_text("8:0 Read 0\n8:0 Write 0\nTotal 0\n")
    layout = Layout("v1", {"blkio": tmp_path}, None)
    assert not counters.counts_blkio(layout)
    file.write_text("8:0 Read 0\n8:0 Write 9\nTotal 9\n")
    assert counters.counts_blkio(layout)
    assert not counters.counts_blkio(Layout("v2", {}, tmp_path))


def test_of_the_host_only_what_no_device_lies_below_counts(tmp_path: Path) -> None:
    for name in ("sda", "dm-0", "loop0"):
        (tmp_path / name).mkdir()
    assert counters.hardware(tmp_path) == {"sda", "dm-0", "loop0"}, "a container sees no hardware"
    (tmp_path / "sda" / "device").symlink_to(tmp_path)
    assert counters.hardware(tmp_path) == {"sda"}
    assert counters.hardware(tmp_path / "none") == frozenset()


def test_the_host_has_counters_that_grow() -> None:
    host = of_host()
    assert set(host.names) <= set(COUNTERS)
    before, after = host.read(), host.read()
    host.close()
    assert after[0] >= before[0] > 0
    assert before[host.names.index("memory_bytes")] > 0
