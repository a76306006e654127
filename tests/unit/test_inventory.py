"""The inventory: written before things are made, readable after any death, and cleaned."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import inventory, paths
from harness.clock import boot_id
from harness.errors import EnvironmentRefused
from harness.image.cache import PARTIAL, partial_file
from harness.inventory import Inventory, clean, dead_inventories, left_over, read, sweep
from harness.probes.cgroups import Group, Layout

CHILD = """
import sys
from harness.inventory import Inventory
inventory = Inventory("child")
inventory.will_make("directory", sys.argv[1])
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAREBENCH_STATE", str(tmp_path / "state"))
    return tmp_path / "state" / "inventory"


@contextmanager
def living_run(thing: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has a thing on its inventory and holds the lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(thing)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"holding\n"
        try:
            yield child
        finally:
            child.kill()


def test_thing_is_written_down_before_it_is_made(own_state: Path, tmp_path: Path) -> None:
    with Inventory("run") as living:
        living.will_make("directory", str(tmp_path / "thing"), why="a test")
        (line,) = (own_state / "run.jsonl").read_text().splitlines()
        assert json.loads(line)["name"] == str(tmp_path / "thing")
        (entry,) = living.entries()
        assert (entry.kind, entry.details) == ("directory", {"why": "a test"})
        living.removed("directory", str(tmp_path / "thing"))
        assert living.entries() == []
    assert list(own_state.iterdir()) == []


def test_list_that_is_not_empty_stays(own_state: Path) -> None:
    with Inventory("run") as living:
        living.will_make("directory", "/nowhere/first")
        living.will_make("directory", "/nowhere/second")
    assert [entry.name for entry in read(own_state / "run.jsonl")] == [
        "/nowhere/second",
        "/nowhere/first",
    ]


def test_living_run_is_never_cleaned_and_a_killed_one_is(own_state: Path, tmp_path: Path) -> None:
    thing = tmp_path / "made" / "thing"
    thing.mkdir(parents=True)
    with living_run(thing) as child:
        with dead_inventories() as dead:
            assert dead == []
        child.send_signal(signal.SIGKILL)
        child.wait()
        with dead_inventories() as dead:
            assert [path.name for path in dead] == ["child.jsonl"]
            assert [entry.name for entry in left_over(dead[0])] == [str(thing)]
            assert thing.is_dir()
            assert clean(dead[0]) == []
    assert not thing.exists()
    assert list(own_state.iterdir()) == []


def test_own_inventory_is_alive(tmp_path: Path) -> None:
    with Inventory("run") as living:
        living.will_make("directory", str(tmp_path))
        with dead_inventories() as dead:
            assert dead == []


def test_cleaning_again_finds_nothing(own_state: Path, tmp_path: Path) -> None:
    with Inventory("run") as living:
        living.will_make("directory", str(tmp_path / "never made"))
    path = own_state / "run.jsonl"
    assert left_over(path) == []
    assert clean(path) == []
    assert not path.exists()
    with dead_inventories() as dead:
        assert dead == []


def test_a_folder_that_others_use_too_goes_only_when_empty(own_state: Path, tmp_path: Path) -> None:
    ours, used = tmp_path / "ours", tmp_path / "used"
    with Inventory("run") as living:
        for folder in (ours, used):
            living.will_make("directory", str(folder), only="empty")
            folder.mkdir()
    (used / "of others").mkdir()
    path = own_state / "run.jsonl"
    assert [entry.name for entry in left_over(path)] == [str(ours)]
    assert clean(path) == []
    assert (used / "of others").is_dir()
    assert not ours.exists()
    assert list(own_state.iterdir()) == []


@pytest.mark.parametrize("torn", [b'{"op": "make", "kind": "di', b"\xff\n", b"[]\n", b"7"])
def test_torn_line_is_left_out(own_state: Path, tmp_path: Path, torn: bytes) -> None:
    with Inventory("run") as living:
        living.will_make("directory", str(tmp_path / "thing"))
    path = own_state / "run.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    assert [entry.name for entry in read(path)] == [str(tmp_path / "thing")]


def test_thing_of_an_unknown_kind_stays_and_is_told(own_state: Path, tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    with Inventory("run") as living:
        living.will_make("directory", str(tmp_path / "thing"))
        living.will_make("teapot", "short and stout")
    path = own_state / "run.jsonl"
    assert [entry.kind for entry in left_over(path)] == ["teapot", "directory"]
    ((entry, why),) = clean(path)
    assert entry.name == "short and stout"
    assert "teapot" in why
    assert not (tmp_path / "thing").exists()
    assert path.exists()


def test_stubborn_thing_does_not_keep_the_rest(
    own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn:
        def exists(self, name: str, details: object) -> bool:
            return True

        def remove(self, name: str, details: object) -> None:
            if name == "raises":
                raise OSError("it bites")

    known = {**inventory.cleaners(), "stubborn": Stubborn()}
    monkeypatch.setattr(inventory, "cleaners", lambda: known)
    (tmp_path / "thing").mkdir()
    with Inventory("run") as living:
        living.will_make("directory", str(tmp_path / "thing"))
        living.will_make("stubborn", "raises")
        living.will_make("stubborn", "stays")
    failed = {entry.name: why for entry, why in clean(own_state / "run.jsonl")}
    assert failed == {"raises": "it bites", "stays": "it is still there"}
    assert not (tmp_path / "thing").exists()


def test_sweep_removes_what_the_run_still_lists(tmp_path: Path, own_state: Path) -> None:
    (tmp_path / "parent" / "thing").mkdir(parents=True)
    with Inventory("run") as living:
        living.will_make("directory", str(tmp_path / "parent" / "thing"))
        living.will_make("directory", str(tmp_path / "parent" / "never made"))
        assert sweep(living) == []
        assert living.entries() == []
    assert not (tmp_path / "parent").exists()
    assert list(own_state.iterdir()) == []


def test_full_disk_refuses_and_spoils_no_line(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with Inventory("run") as living:
        living.will_make("directory", "/nowhere/first")
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda file, data: write(file, data[:9]))
            with pytest.raises(EnvironmentRefused, match="No space left"):
                living.will_make("directory", "/nowhere/second")
        living.will_make("directory", "/nowhere/third")
        assert [entry.name for entry in living.entries()] == ["/nowhere/third", "/nowhere/first"]


def test_folder_that_cannot_be_written_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAREBENCH_STATE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentRefused, match="cannot be written") as caught:
        Inventory("run")
    assert "TAREBENCH_STATE" in caught.value.hint


def test_inventory_that_a_clean_removes_while_it_is_opened_is_made_anew(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its creation and its lock the file looks dead and empty to a clean."""
    lock = fcntl.flock
    cleaned: list[Path] = []

    def clean_first(file: int, how: int) -> None:
        if not cleaned:
            cleaned.append(own_state / "run.jsonl")
            cleaned[0].unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", clean_first)
    with Inventory("run") as living:
        living.will_make("directory", "/nowhere")
        assert read(own_state / "run.jsonl")
    assert cleaned


def test_inventory_that_ends_while_a_clean_looks_is_not_dead(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = Inventory("run")
    lock = fcntl.flock

    def end_first(file: int, how: int) -> None:
        living.__exit__()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", end_first)
    with dead_inventories() as dead:
        assert dead == []


@pytest.mark.skipif(not Layout.detect().writable(), reason="control groups are not writable")
def test_control_group_is_removed_with_what_runs_in_it(own_state: Path) -> None:
    layout = Layout.detect()
    name = f"tarebench-test-{os.getpid()}"
    group = Group(layout, f"{name}/below")
    with Inventory("run") as living:
        living.will_make("cgroup", name)
    group.create()
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        for path in group.paths():
            (path / "cgroup.procs").write_text(str(sleeper.pid))
        assert [entry.name for entry in left_over(own_state / "run.jsonl")] == [name]
        assert clean(own_state / "run.jsonl") == []
        assert sleeper.wait(30) == -signal.SIGKILL
    assert not [mount for mount in layout.mounts if (mount / name).exists()]


def test_state_can_be_put_elsewhere(own_state: Path) -> None:
    assert paths.inventories() == own_state


def test_setting_of_an_earlier_boot_is_none_of_ours(own_state: Path, tmp_path: Path) -> None:
    """Started anew, the host has its own values again; who changed one since then meant it."""
    now, then = tmp_path / "now", tmp_path / "then"
    for path, boot in ((now, boot_id()), (then, "another")):
        path.write_text("changed")
        with Inventory(f"of-{boot}") as dead:
            dead.will_make(inventory.SETTING, str(path), value="first", boot=boot)
    with dead_inventories() as files:
        assert [each.name for file in files for each in left_over(file)] == [str(now)]
        assert [clean(file) for file in files] == [[], []]
    assert (now.read_text(), then.read_text()) == ("first", "changed")
    assert list(own_state.iterdir()) == []


def test_what_outlives_a_boot_is_on_the_disk_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Inventory("run") as living:
        synced: list[bytes] = []
        monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(living.path.read_bytes()))
        living.will_make("directory", "/nowhere/a")
        living.will_make("container", "a")
        living.will_make("domain", "b", uuid="0", uri="embed")
    assert [data.count(b"\n") for data in synced] == [1, 3]


def test_full_disk_keeps_a_thing_from_being_made_and_not_from_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = tmp_path / "thing"
    thing.mkdir()
    with Inventory("run") as living:
        living.will_make("directory", str(thing))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, data: 0)
            with pytest.raises(EnvironmentRefused, match="No space left"):
                living.will_make("directory", "/nowhere/b")
            assert sweep(living) == []
        assert [entry.name for entry in living.entries()] == [str(thing)], "it stays on the list"
    assert not thing.exists()
    with dead_inventories() as files:
        assert [each for file in files for each in left_over(file)] == []
        assert [clean(file) for file in files] == [[]]


def test_what_a_killed_maker_left_is_found_without_its_pid(own_state: Path, tmp_path: Path) -> None:
    """Its number may be another's by now: the lock tells the living from the dead."""
    lives = Inventory("partial-lives")
    with Inventory("partial-died") as dead:
        for maker, name in ((lives, "lives"), (dead, "died")):
            partial = tmp_path / f".partial-{os.getpid()}-{name}"
            maker.will_make(PARTIAL, str(partial))
            (partial / "rootfs").mkdir(parents=True)
    with dead_inventories() as files:
        assert [clean(file) for file in files] == [[]]
    assert sorted(path.name.rpartition("-")[2] for path in tmp_path.glob(".partial-*")) == ["lives"]


def test_only_finished_things_are_struck_out(own_state: Path, tmp_path: Path) -> None:
    with partial_file(tmp_path / "good") as partial:
        (listed,) = own_state.iterdir()
        assert [entry.name for entry in read(listed)] == [str(partial)]
        partial.touch()
    assert list(own_state.iterdir()) == []
    assert (tmp_path / "good").exists()


def test_a_closed_inventory_takes_nothing_more(tmp_path: Path) -> None:
    """A probe that was given up may go on: what it would make is refused, and its descriptor's
    number, which is somebody else's by then, is not written to."""
    with Inventory("over", tmp_path) as inventory:
        inventory.will_make("folder", str(tmp_path / "made"))
    other = tmp_path / "other"
    file = os.open(other, os.O_CREAT | os.O_RDWR)
    os.dup2(file, inventory._file)  # the number is taken again
    try:
        with pytest.raises(EnvironmentRefused, match="is over"):
            inventory.will_make("folder", "late")
        inventory.removed("folder", str(tmp_path / "made"))
    finally:
        for number in {file, inventory._file}:
            os.close(number)
    assert other.read_bytes() == b""
    assert [entry.name for entry in read(inventory.path)] == [str(tmp_path / "made")]
