"""The shelf of built images: find one in milliseconds, list them, throw old ones away.

`cache/images/<first 16 digits of the digest>/` is a finished image and its forms;
`cache/images/by-recipe/<hash>` names the folder that a recipe gave, so that nothing is
rebuilt whose inputs did not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.errors import ImageError
from harness.image.agent import agent_sha256
from harness.image.cache import disk_bytes, locked, partial_file, remove_stale_partials, remove_tree
from harness.image.recipe import Recipe, current_recipe, recipe_hash
from harness.model import Frozen, Image

RECORD = "image.json"
_BY_RECIPE = "by-recipe"


class ImageRecord(Frozen, frozen=True):
    """`image.json`: what an image is and where it came from.

    `ownership` says whether the files of `rootfs/` belong to whom the manifest says
    (`exact`), or to the ordinary user who unpacked them (`unprivileged`); the archive, the
    manifest and the digest are the same in both cases. `packages` maps each installed
    package to its version. `content_bytes` is the sum of the regular files' sizes.
    """

    digest: str
    agent_sha256: str
    recipe_hash: str
    recipe: Recipe
    excludes: tuple[str, ...]
    ownership: str
    mode: str
    built_utc: str
    builder: str
    packages: dict[str, str]
    paths: int
    content_bytes: int


def images_directory(cache: Path) -> Path:
    """Where finished images and the pointers to them lie."""
    return cache / "images"


def entry_name(digest: str) -> str:
    """The folder's name of an image: the first 16 hexadecimal digits of its digest."""
    return digest.removeprefix("sha256:")[:16]


def find(cache: Path, extra: Sequence[str] = ()) -> Image | None:
    """The image that the current recipe (with `extra` packages) and agent gave, or None."""
    agent = agent_sha256(cache)
    if agent is None:
        return None
    pointer = _pointer(cache, recipe_hash(current_recipe(extra), agent))
    try:
        return load(images_directory(cache) / pointer.read_text().strip())
    except (FileNotFoundError, ImageError):
        return None


def remember(cache: Path, key: str, image: Image) -> None:
    """Let a recipe's hash point to an image."""
    with partial_file(_pointer(cache, key)) as partial:
        partial.write_text(image.directory.name + "\n")


def load(path: Path) -> Image:
    """The image in a folder of the store; raises ImageError if it is not a finished one."""
    record = read_record(path)
    return Image(record.digest, path.resolve(), record.agent_sha256, record.excludes)


def read_record(path: Path) -> ImageRecord:
    """The `image.json` of a folder of the store; raises ImageError."""
    try:
        return msgspec.json.decode((path / RECORD).read_bytes(), type=ImageRecord)
    except FileNotFoundError:
        raise ImageError(f"{path} holds no image", "tarebench image build") from None
    except msgspec.DecodeError as error:
        raise ImageError(
            f"{path / RECORD} cannot be read: {error}", "tarebench image prune"
        ) from error


def list_images(cache: Path) -> list[Image]:
    """Every finished image of the store, by name."""
    directory = images_directory(cache)
    records = sorted(directory.glob(f"[0-9a-f]*/{RECORD}")) if directory.is_dir() else []
    images = []
    for record in records:
        try:
            images.append(load(record.parent))
        except ImageError:
            continue  # written by another version: prune removes it
    return images


def prune(cache: Path, keep_current: bool) -> list[Path]:
    """Remove images, and what dead builds left; returns the folders that were removed.

    With `keep_current` the image of the current recipe stays.
    """
    directory = images_directory(cache)
    removed = [
        path
        for kind in ("agent", "launcher", "kernels")
        for path in remove_stale_partials(cache / kind)
    ]
    if not directory.is_dir():
        return removed
    with locked(directory / ".lock"):
        removed += remove_stale_partials(directory)
        current = find(cache) if keep_current else None
        for entry in sorted(directory.glob("[0-9a-f]*")):
            is_image = entry.is_dir() and len(entry.name) == 16
            if is_image and (current is None or entry.name != current.directory.name):
                remove_tree(entry)
                removed.append(entry)
        _drop_dangling_pointers(directory)
    return removed


def sizes(image: Image) -> dict[str, int]:
    """Bytes on the disk by part of an image: `rootfs`, `rootfs.tar`, each form."""
    parts = {path.name: path for path in image.directory.iterdir() if path.name != "forms"}
    forms = image.directory / "forms"
    if forms.is_dir():
        shown = (path for path in forms.iterdir() if not path.name.startswith("."))
        parts |= {f"forms/{path.name}": path for path in shown}
    return {name: disk_bytes(path) for name, path in sorted(parts.items())}


def cache_bytes(cache: Path) -> int:
    """Bytes on the disk of everything that is cached: images, kernels, agents."""
    return disk_bytes(cache) if cache.exists() else 0


def _pointer(cache: Path, key: str) -> Path:
    return images_directory(cache) / _BY_RECIPE / key[:32]


def _drop_dangling_pointers(directory: Path) -> None:
    for pointer in (directory / _BY_RECIPE).glob("[0-9a-f]*"):
        if not (directory / pointer.read_text().strip()).is_dir():
            pointer.unlink()
