"""The page cache: what is resident, what can be dropped, and what refuses to go."""

from __future__ import annotations

import mmap
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.errors import EnvironmentRefused
from harness.experiments import cold, startup
from harness.experiments.bench import Bench
from harness.model import Instance, RuntimeClass, Storage, StorageKind
from harness.probes import disk, pagecache
from harness.settings import Startup

MIB = 1 << 20

dropping = pytest.mark.skipif(not pagecache.can_drop(), reason="only root may drop the page cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"x" * MIB)
    if disk.device_under(path) is None:
        pytest.skip("the temporary folder is on no block device")
    return path


def test_a_file_that_was_just_written_is_resident(file: Path) -> None:
    assert pagecache.resident_bytes(file) == MIB


def test_an_empty_file_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert pagecache.resident_bytes(tmp_path / "empty") == 0


@dropping
def test_evicting_leaves_no_page_and_reading_brings_them_back(file: Path) -> None:
    assert pagecache.evict([file]) == {}
    assert pagecache.resident_bytes(file) == 0
    device = disk.device_under(file)
    assert device is not None
    before = disk.traffic(device).read_bytes
    file.read_bytes()
    assert pagecache.resident_bytes(file) == MIB
    assert disk.traffic(device).read_bytes - before >= MIB


@dropping
def test_a_page_that_a_process_has_mapped_is_no_cold_page(file: Path) -> None:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[0] == ord("x")
        with pytest.raises(cold.NotCold, match=f"still in the page cache.*{file}"):
            cold.chill([file])


@dropping
def test_what_was_chilled_knows_its_device(file: Path) -> None:
    found = cold.chill([file])
    assert list(found.files) == [file]
    assert [disk.device_under(file)] == list(found.devices)


def test_files_in_memory_can_have_no_cold_start() -> None:
    with pytest.raises(cold.NotCold, match="no block device"):
        cold.chill([Path("/proc/self/status")])


@pytest.mark.parametrize(
    ("cache", "said"),
    [("none", "past the host's"), ("writeback", "through the host's"), ("", "empty at boot")],
)
def test_a_guest_s_disk_is_told_as_it_is_read(cache: str, said: str) -> None:
    class Machine:
        def storage(self) -> Storage:
            return Storage("/", StorageKind.QCOW2, None, cache=cache)

    runtime = SimpleNamespace(runtime_class=RuntimeClass.MACHINE)
    bench = cast(Bench, SimpleNamespace(runtime=runtime))
    told = str(cold._box(bench, cast(Instance, Machine())))
    assert said in told
    assert ("cold for the host by construction" in told) == (cache == "none")


def test_the_cold_regime_is_refused_where_caches_cannot_be_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pagecache, "can_drop", lambda: False)
    with pytest.raises(EnvironmentRefused, match="only root") as caught:
        startup.require(Startup(regime="cold"))
    assert "sudo" in caught.value.hint
    startup.require(Startup())
