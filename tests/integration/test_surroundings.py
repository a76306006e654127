"""Whatever umask, search path, folder for temporary files and language it is started with."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.imagecheck import built
from tests.command import Place, Said

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]
BOXES = ["bare", "chroot", *(["crun"] if shutil.which("crun") else [])]
if os.geteuid() != 0:
    BOXES = BOXES[:1]
PLANTED = ("crun", "runc", "qemu-img", "unshare", "ionice", "cc", "tini", "dockerd")
OTHERS_MAY = stat.S_IWGRP | stat.S_IWOTH


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder in which programs lie that nobody should start."""
    for name in PLANTED:
        trap = tmp_path / name
        trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/sprung'\n")
        trap.chmod(0o755)
    return Place(tmp_path, drawn=True)


def runs(place: Place, umask: int = -1, env: Mapping[str, str] | None = None) -> Said:
    """A small run of real boxes; it must be as good as any."""
    named = [word for name in BOXES for word in ("--runtime", name)]
    said = place.tarebench(
        "run", "quick", *named, "--repeat", "1", "--set", "warmup_blocks=0", "--quiet",
        env=env, umask=umask,
    )  # fmt: skip
    assert said.status == 0, said.err
    assert not (place.folder / "sprung").exists()
    rows = place.rows(said.folder)
    assert {row["runtime"] for row in rows} >= set(BOXES)
    assert {row["outcome"] for row in rows} == {"ok"}
    loose = [path for path in _ours(place.folder) if path.stat().st_mode & OTHERS_MAY]
    assert not loose
    return said


def _ours(folder: Path) -> list[Path]:
    """All that the run has made there."""
    made = [folder / name for name in ("results", "state")]
    return [path for top in made for path in (top, *top.rglob("*")) if path.exists()]


def test_everything_hostile_at_once(place: Place) -> None:
    env = {"PATH": "", "TMPDIR": "/nowhere/at all:no", "LC_ALL": "tr_TR.UTF-8", "LANG": "xx_XX"}
    runs(place, umask=0, env=env)


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077, 0o777])
def test_a_umask_neither_opens_the_run_nor_closes_the_box(place: Place, umask: int) -> None:
    folder = runs(place, umask=umask).folder
    assert stat.S_IMODE(folder.stat().st_mode) == (0o777 & ~(umask | 0o022)) | 0o700


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", ".", ":/usr/bin:/bin", "relative/bin:/usr/bin:"])
def test_no_program_of_the_current_folder_is_started(place: Place, path: str) -> None:
    runs(place, env={"PATH": path})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["missing", "for all", "a b:c,d\\e"])
def test_a_folder_for_temporary_files_may_be_any(place: Place, name: str) -> None:
    folder = place.folder / name
    if name != "missing":
        folder.mkdir()
        folder.chmod(0o777)
    runs(place, env={"TMPDIR": str(folder)})
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["C", "POSIX", "tr_TR.UTF-8", "xx_XX", ""])
def test_a_language_of_the_host_changes_nothing(place: Place, name: str) -> None:
    runs(place, env={"LC_ALL": name, "LANG": name, "LANGUAGE": "tr"})


@pytest.mark.slow
def test_folders_of_the_cache_may_have_any_name(place: Place) -> None:
    """What goes into options of mounts, configurations and command lines is quoted there."""
    image = built()
    assert image is not None
    folder = place.folder / "a b,c:d=e'f\"g&<h>\\%i"
    shutil.copytree(image.directory.parents[1], folder, symlinks=True)
    runs(place, env={"TAREBENCH_CACHE": str(folder)})
