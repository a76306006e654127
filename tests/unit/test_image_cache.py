"""Cache entries are finished or absent, whatever became of those who made them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.image import cache


def dead_pid() -> int:
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


def test_only_what_the_dead_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f".partial-{dead_pid()}-image"
    alive = tmp_path / f".partial-{os.getpid()}-image"
    finished = tmp_path / "0123456789abcdef"
    for folder in (left / "rootfs", alive, finished):
        folder.mkdir(parents=True)
    (left / "rootfs" / "file").write_text("x")
    (left / "rootfs").chmod(0o555)
    assert cache.remove_stale_partials(tmp_path) == [left]
    assert sorted(tmp_path.iterdir()) == sorted([alive, finished])


def test_no_folder_is_no_error(tmp_path: Path) -> None:
    assert cache.remove_stale_partials(tmp_path / "absent") == []


def fail_in_a_folder(final: Path) -> None:
    with cache.partial_directory(final) as partial:
        (partial / "x").write_text("x")
        raise RuntimeError


def fail_in_a_file(final: Path) -> None:
    with cache.partial_file(final) as partial:
        partial.write_text("x")
        raise RuntimeError


@pytest.mark.parametrize("fail", [fail_in_a_folder, fail_in_a_file])
def test_a_failed_maker_leaves_nothing(tmp_path: Path, fail: Callable[[Path], None]) -> None:
    with pytest.raises(RuntimeError):
        fail(tmp_path / "final")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_maker_with_our_pid_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """In containers that share a cache the same small pids come again and again."""
    final = tmp_path / "entry"
    with cache.partial_directory(final) as left:
        assert left.is_dir()
        with cache.partial_directory(final) as partial:
            (partial / "x").write_text("new")
            assert cache.finish(partial, final)
    assert (final / "x").read_text() == "new"


def test_a_finished_entry_gets_its_name_once(tmp_path: Path) -> None:
    final = tmp_path / "entry"
    for text, is_new in (("first", True), ("second", False)):
        with cache.partial_directory(final) as partial:
            (partial / "x").write_text(text)
            assert cache.finish(partial, final) is is_new
    assert (final / "x").read_text() == "first"
    assert list(tmp_path.iterdir()) == [final]


def hold(path: Path, ready: multiprocessing.synchronize.Event, log: Path) -> None:
    with cache.locked(path):
        ready.set()
        with log.open("a") as file:
            file.write("in out ")


def test_a_second_maker_waits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    log = tmp_path / "log"
    child = context.Process(target=hold, args=(tmp_path / "lock", ready, log))
    with cache.locked(tmp_path / "lock"):
        child.start()
        assert not ready.wait(0.2)
        log.write_text("first ")
    child.join(10)
    assert log.read_text() == "first in out "


def test_disk_bytes_counts_hard_links_and_holes_once(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "a").write_bytes(b"x" * 8192)
    once = cache.disk_bytes(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert cache.disk_bytes(tmp_path) == once < 1 << 20


def test_nothing_is_removed_while_something_is_mounted_below(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    (folder / "mnt").mkdir(parents=True)
    (folder / "file").touch()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "test", folder / "mnt"], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounts are not allowed here")
    try:
        with pytest.raises(ImageError, match="is mounted in it"):
            cache.remove_tree(folder)
        assert (folder / "file").exists()
    finally:
        subprocess.run(["umount", folder / "mnt"], check=True)
    cache.remove_tree(folder)
    assert not folder.exists()
