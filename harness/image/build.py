"""Build the one root filesystem, so that two builds of the same packages are the same bytes.

mmdebstrap unpacks Debian packages to an archive, with the host's own mirrors; hooks of the
recipe put the agent in and take out whatever is dated or belongs to this host. The manifest
is derived from the archive (where owners are right even for an ordinary user), then the
archive is unpacked, and the agent must print the same manifest from the result.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness import paths, process
from harness.errors import CommandFailed, ImageError
from harness.image.agent import build_agent
from harness.image.cache import (
    finish,
    locked,
    partial_directory,
    remove_stale_partials,
    sha256_of,
)
from harness.image.manifest import differences, digest_of, manifest_of_tar, parse_manifest
from harness.image.mmdebstrap import Progress, bootstrap
from harness.image.recipe import Recipe, current_recipe, recipe_hash
from harness.image.store import (
    RECORD,
    ImageRecord,
    entry_name,
    find,
    images_directory,
    load,
    read_record,
    remember,
)
from harness.model import Image

NEEDED_BYTES = 1_500_000_000


def build(
    cache: Path,
    extra: Sequence[str] = (),
    *,
    refresh: bool = False,
    progress: Progress | None = None,
) -> Image:
    """The image of the current recipe, built now unless it is there already.

    With `extra` packages it is another image of its own digest, kept beside the plain one.
    `refresh` builds again with the packages of today. `progress` is called with one line of
    text a step. Raises ImageError (no mmdebstrap, no space, packages cannot be fetched).
    """
    tell = progress or (lambda _: None)
    if not refresh and (ready := find(cache, extra)) is not None:
        return ready
    with paths.readable():
        agent = build_agent(cache)
    images = images_directory(cache)
    with paths.readable(), locked(images / ".lock"):
        if not refresh and (ready := find(cache, extra)) is not None:
            return ready  # another process has built it while we waited
        remove_stale_partials(images)
        check_space(images)
        recipe = current_recipe(extra)
        image = _build_entry(images, agent, recipe, tell)
        remember(cache, recipe_hash(recipe, image.agent_sha256), image)
    return image


def check_space(directory: Path) -> None:
    """Raise ImageError if the folder's file system has too little room for a build."""
    free = shutil.disk_usage(directory).free
    if free < NEEDED_BYTES:
        raise ImageError(
            f"{directory} has {free // 10**6} MB free, and an image needs {NEEDED_BYTES // 10**6}",
            "tarebench image prune, or choose another cache folder",
        )


def _build_entry(images: Path, agent: Path, recipe: Recipe, tell: Progress) -> Image:
    with partial_directory(images / "image") as partial:
        mode = "root" if os.geteuid() == 0 else "unshare"
        archive = partial / "rootfs.tar"
        _make_archive(archive, agent, recipe, mode, tell)
        tell("deriving the manifest")
        manifest = manifest_of_tar(archive, recipe.excludes)
        (partial / "manifest.txt").write_bytes(manifest)
        tell("unpacking")
        unpack(archive, partial / "rootfs")
        exact = os.geteuid() == 0
        verify(partial / "rootfs", agent, manifest, recipe.excludes, ignore_ownership=not exact)
        record = _record(partial, agent, recipe, manifest, mode, exact)
        (partial / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        final = images / entry_name(record.digest)
        finish(partial, final)  # where the same digest was built before, the older one stays
        return load(final)


def _make_archive(archive: Path, agent: Path, recipe: Recipe, mode: str, tell: Progress) -> None:
    bootstrap(
        archive, _arguments(agent, recipe), recipe.suite, recipe.components,
        epoch=recipe.epoch, mode=mode, tell=tell,
    )  # fmt: skip
    _add_mount_point(archive, "./dev", recipe.epoch)


def _add_mount_point(archive: Path, name: str, epoch: int) -> None:
    """Append a directory: mmdebstrap leaves out /dev together with the devices in it."""
    with tarfile.open(archive, "a:") as tar:
        if name not in tar.getnames():
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, epoch
            tar.addfile(member)


def _arguments(agent: Path, recipe: Recipe) -> list[str]:
    """What the recipe asks of mmdebstrap."""
    return [
        "--format=tar",
        f"--variant={recipe.variant}",
        f"--architectures={recipe.architecture}",
        f"--include={','.join(recipe.packages)}",
        "--skip=output/dev",  # devices cannot be unpacked by an ordinary user
        "--skip=cleanup/apt",  # it would make anew, under our umask, what the recipe removes
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.path_excludes),
        f'--customize-hook=mkdir -p "$1"{shlex.quote(str(Path(recipe.agent_path).parent))}',
        f"--customize-hook=upload {shlex.quote(str(agent))} {recipe.agent_path}",
        f'--customize-hook=chmod 755 "$1"{shlex.quote(recipe.agent_path)}',
        *(f"--customize-hook={command}" for command in recipe.customize),
    ]


def unpack(archive: Path, root: Path) -> None:
    """Unpack the archive with owners (if we are root), modes and setuid bits."""
    root.mkdir(mode=0o755)
    owner = "--same-owner" if os.geteuid() == 0 else "--no-same-owner"
    process.run(
        ["tar", "--extract", "--file", archive, "--directory", root,
         "--numeric-owner", "--preserve-permissions", owner],
        hint="is there room left, and does the cache lie on a Linux file system?",
    )  # fmt: skip


def derive_manifest(root: Path, agent: Path, excludes: tuple[str, ...]) -> bytes:
    """The manifest of a tree, as the agent sees it."""
    return process.run([agent, "--manifest", root, *excludes]).stdout


def verify(
    root: Path, agent: Path, expected: bytes, excludes: tuple[str, ...], *, ignore_ownership: bool
) -> None:
    """Raise ImageError, naming the first paths, if a tree is not what its manifest says."""
    try:
        found = derive_manifest(root, agent, excludes)
    except CommandFailed as error:
        raise ImageError(f"the agent cannot read {root}: {error.message}", error.hint) from error
    if found == expected:
        return
    if told := differences(expected, found, ignore_ownership):
        more = f" and {len(told) - 5} more" if len(told) > 5 else ""
        raise ImageError(
            f"{root} is not what its manifest says: {'; '.join(told[:5])}{more}",
            "tarebench image build --refresh",
        )


def verify_image(image: Image) -> None:
    """Derive the manifest of a stored image again; raise ImageError if anything changed."""
    manifest = image.manifest.read_bytes()
    if digest_of(manifest) != image.digest:
        raise ImageError(f"{image.manifest} was changed", "tarebench image build --refresh")
    record = read_record(image.directory)
    agent = image.root / record.recipe.agent_path.lstrip("/")
    exact = record.ownership == "exact"
    verify(image.root, agent, manifest, image.excludes, ignore_ownership=not exact)


def _record(
    partial: Path, agent: Path, recipe: Recipe, manifest: bytes, mode: str, exact: bool
) -> ImageRecord:
    agent_hash = sha256_of(agent)
    entries = parse_manifest(manifest)
    return ImageRecord(
        digest=digest_of(manifest),
        agent_sha256=agent_hash,
        recipe_hash=recipe_hash(recipe, agent_hash),
        recipe=recipe,
        excludes=recipe.excludes,
        ownership="exact" if exact else "unprivileged",
        mode=mode,
        built_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        builder=_builder_version(),
        packages=_packages(partial / "rootfs.tar"),
        paths=len(entries),
        content_bytes=sum(entry.size for entry in entries.values()),
    )


def _builder_version() -> str:
    return process.run(["mmdebstrap", "--version"]).stdout.decode().strip()


def _packages(archive: Path) -> dict[str, str]:
    """The versions of the installed packages, from dpkg's database inside the archive."""
    with tarfile.open(archive, "r:") as tar:
        file = tar.extractfile("./var/lib/dpkg/status")
        assert file is not None
        text = file.read().decode(errors="replace")
    versions = {}
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if _is_field(line))
        if "Package" in fields:
            versions[fields["Package"]] = fields.get("Version", "")
    return versions


def _is_field(line: str) -> bool:
    return ": " in line and not line.startswith(" ")
