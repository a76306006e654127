"""Same-page merging for a while: waited for until it settles, and every setting put back."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness import ksm
from harness.errors import EnvironmentRefused
from harness.inventory import SETTING, Inventory, clean, left_over
from harness.model import MIB

PAGES = 16 * MIB // mmap.PAGESIZE

pytestmark = pytest.mark.integration
can_merge = pytest.mark.skipif(
    not os.access(ksm.FOLDER / "run", os.W_OK) or os.geteuid() != 0,
    reason="this kernel has no KSM, or root is needed",
)


def settings() -> Mapping[str, str]:
    names = ("run", "pages_to_scan", "sleep_millisecs", "smart_scan")
    return {n: (ksm.FOLDER / n).read_text() for n in names if (ksm.FOLDER / n).exists()}


@can_merge
def test_like_pages_are_merged_and_the_settings_restored(tmp_path: Path) -> None:
    before = settings()
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with (
        mmap.mmap(-1, PAGES * mmap.PAGESIZE, flags=private) as memory,
        Inventory("ksm", tmp_path) as inventory,
    ):
        memory.madvise(mmap.MADV_MERGEABLE)
        for page in range(PAGES):
            memory[page * mmap.PAGESIZE : (page + 1) * mmap.PAGESIZE] = b"tare" * 1024
        with ksm.merging(inventory) as merging:
            merging.settle(60)
            assert merging.merged_bytes() > 0.9 * PAGES * mmap.PAGESIZE
            assert {entry.kind for entry in inventory.entries()} == {SETTING}
        assert inventory.entries() == []
        memory.madvise(mmap.MADV_UNMERGEABLE)
    assert settings() == before


def test_after_a_crash_clean_restores(tmp_path: Path) -> None:
    setting, untouched = tmp_path / "run", tmp_path / "pages_to_scan"
    setting.write_text("1\n")
    untouched.write_text("100\n")
    inventory = Inventory("dead", tmp_path)
    inventory.will_make(SETTING, str(setting), value="0")
    inventory.will_make(SETTING, str(untouched), value="100")
    inventory.will_make(SETTING, str(tmp_path / "gone"), value="7")
    assert [entry.name for entry in left_over(inventory.path)] == [str(setting)]
    assert clean(inventory.path) == []
    assert setting.read_text() == "0"
    assert not inventory.path.exists()


def test_where_it_cannot_be_turned_on_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "pages_to_scan").write_text("100")
    with (
        Inventory("ksm", tmp_path / "inventory") as inventory,
        pytest.raises(EnvironmentRefused, match="KSM cannot be turned on"),
        ksm.merging(inventory, tmp_path),
    ):
        pytest.fail("there is no KSM here")
    assert (tmp_path / "pages_to_scan").read_text() == "100"
