"""What an image is found by, and the shelf on which it is found."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness import process
from harness.errors import ImageError
from harness.image import build, sources, store
from harness.image.recipe import Recipe, current_recipe, recipe_hash


@pytest.mark.parametrize(
    "change",
    [
        lambda recipe: msgspec.structs.replace(recipe, packages=(*recipe.packages, "hello")),
        lambda recipe: msgspec.structs.replace(recipe, customize=recipe.customize[1:]),
        lambda recipe: msgspec.structs.replace(recipe, suite="trixie"),
        lambda recipe: msgspec.structs.replace(recipe, epoch=1),
    ],
)
def test_every_word_of_the_recipe_counts(change: Callable[[Recipe], Recipe]) -> None:
    recipe = current_recipe()
    assert recipe_hash(change(recipe), "a") != recipe_hash(recipe, "a")


def test_the_agent_counts_too_and_nothing_else() -> None:
    recipe = current_recipe()
    assert recipe_hash(recipe, "a") != recipe_hash(recipe, "b")
    assert recipe_hash(recipe, "a") == recipe_hash(current_recipe(), "a")


def put_image(cache: Path, digest: str) -> Path:
    """A folder of the store that looks like a finished image."""
    directory = cache / "images" / store.entry_name(digest)
    (directory / "rootfs").mkdir(parents=True)
    (directory / "manifest.txt").touch()
    recipe = current_recipe()
    record = store.ImageRecord(
        digest, "a" * 64, recipe_hash(recipe, "a" * 64), recipe, recipe.excludes,
        "exact", "root", "2026-01-01T00:00:00+00:00", "test", {}, 0, 0,
    )  # fmt: skip
    (directory / store.RECORD).write_bytes(msgspec.json.encode(record))
    return directory


def test_an_image_is_found_by_recipe_and_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "agent_sha256", lambda cache: "a" * 64)
    assert store.find(tmp_path) is None
    image = store.load(put_image(tmp_path, "sha256:" + "0123456789abcdef" * 4))
    store.remember(tmp_path, recipe_hash(current_recipe(), "a" * 64), image)
    assert store.find(tmp_path) == image
    monkeypatch.setattr(store, "agent_sha256", lambda cache: "b" * 64)
    assert store.find(tmp_path) is None


def test_prune_keeps_the_current_image_only_if_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "agent_sha256", lambda cache: "a" * 64)
    current = put_image(tmp_path, "sha256:" + "c" * 64)
    old = put_image(tmp_path, "sha256:" + "d" * 64)
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / "images" / f".partial-{ended.pid}-image"
    left.mkdir()
    store.remember(tmp_path, recipe_hash(current_recipe(), "a" * 64), store.load(current))
    assert [image.directory for image in store.list_images(tmp_path)] == [current, old]
    assert set(store.prune(tmp_path, keep_current=True)) == {left, old}
    assert store.find(tmp_path) is not None
    assert store.prune(tmp_path, keep_current=False) == [current]
    assert store.find(tmp_path) is None
    assert store.prune(tmp_path / "absent", keep_current=True) == []


def test_a_folder_without_a_record_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        store.load(tmp_path)


def test_too_little_space_is_said_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.check_space(tmp_path)
    monkeypatch.setattr(build, "NEEDED_BYTES", 1 << 62)
    with pytest.raises(ImageError, match="MB free"):
        build.check_space(tmp_path)


def test_no_mmdebstrap_is_said_with_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.setattr(process, "_SYSTEM_PATH", ())
    with pytest.raises(ImageError) as caught:
        build._make_archive(tmp_path / "a", tmp_path, current_recipe(), "root", lambda _: None)
    assert "apt-get install mmdebstrap" in caught.value.hint


def test_only_debians_own_sources_are_taken() -> None:
    told = """\
http://mirror.example/debian/|bookworm|main|Debian
http://mirror.example/debian/|bookworm-updates|main|$(ORIGIN)
http://mirror.example/debian/|bookworm|contrib|Debian
http://third.example/php|bookworm|main|third
http://third.example/php|bookworm|main|$(ORIGIN)
http://mirror.example/debian/|trixie|main|Debian
"""
    assert sources._lines_of(told, "bookworm", "main") == [
        "deb http://mirror.example/debian/ bookworm main",
        "deb http://mirror.example/debian/ bookworm-updates main",
    ]
    assert sources._lines_of(told.splitlines()[1], "bookworm", "main") == []
