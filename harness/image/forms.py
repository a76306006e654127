"""The forms of the image that runtimes boot from, each derived when it is first asked for.

A form is cached beside its image (`<image>/forms/`), made under another name and renamed when
it is whole, and locked, so that two makers do not do the work twice. One that is there is used as
it is, also by those who may only read it. Every form holds the files that the manifest lists, with
their owners.
"""

from __future__ import annotations

import functools
import itertools
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness import process
from harness.errors import ImageError
from harness.image import cpio
from harness.image.cache import locked, partial_file, sha256_of
from harness.image.guest import (
    MODULES,
    OPTIONAL_MODULES,
    GuestKernel,
    Module,
    required_modules,
)
from harness.image.manifest import ManifestEntry, parse_manifest
from harness.image.store import read_record
from harness.model import AGENT_PATH, MIB, Image

SLACK_BYTES = 256 * MIB
"""What a guest can write before its disk is full: file-I/O jobs need room."""

_BLOCK = 4096
_EXT4_OVERHEAD_BYTES = 64 * MIB  # journal, inode tables, bitmaps

_UNLISTED = (
    "/proc", "/sys", "/dev", "/run", "/run/lock", "/tmp",
    "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
)  # fmt: skip
"""What the image holds of the paths that no manifest lists."""


def ext4(image: Image) -> Path:
    """The image as a raw, sparse disk with an ext4 file system on it and no partitions.

    UUID and hash seed come from the digest, and nothing is left to be initialised lazily: a
    background thread that writes inode tables would be measured with the workload.
    """
    return derived(image, "root.ext4", functools.partial(_make_ext4, image))


def derived(image: Image, name: str, make: Callable[[Path], None]) -> Path:
    """A form of an image, made now unless it is there.

    Raises ImageError where it is not, and the image is someone else's.
    """
    final = image.directory / "forms" / name
    if final.exists():
        return final
    if not os.access(image.directory, os.W_OK):
        raise ImageError(
            f"the image in {image.directory} is someone else's, and has no {name} yet",
            "sudo tarebench doctor makes it; or build one of your own, TAREBENCH_CACHE=DIR "
            "tarebench image build",
        )
    with locked(final.with_name(f".{name}.lock")):
        if not final.exists():
            with partial_file(final) as partial:
                make(partial)
    return final


def overlay_disk(base: Path, target: Path, base_format: str = "raw") -> None:
    """A qcow2 disk of one instance: what it writes is in `target`, the rest in `base`."""
    argv = overlay_command(base.resolve(), target, base_format)
    process.run(argv, hint="apt-get install qemu-utils")


def overlay_command(base: Path, target: Path, base_format: str = "raw") -> list[str]:
    """What makes such a disk, on whichever host the two are."""
    kinds = ["-f", "qcow2", "-F", base_format]
    return ["qemu-img", "create", "-q", *kinds, "-b", str(base), str(target)]


def raw_disk(base: Path, target: Path) -> None:
    """A raw disk of one instance: a whole copy, with the base's holes."""
    process.run(raw_command(base.resolve(), target), hint="apt-get install qemu-utils")


def raw_command(base: Path, target: Path) -> list[str]:
    """What makes such a disk: it is written past the page cache, so that a guest finds nothing
    of it there."""
    past = ["-T", "none", "-t", "none"]
    return ["qemu-img", "convert", "-q", "-f", "raw", "-O", "raw", *past, str(base), str(target)]


def initramfs(image: Image, kernel: GuestKernel) -> Path:
    """What the guest's kernel starts: the agent as /init, and the modules to the disk."""
    name = f"initramfs-{kernel.version}.cpio"
    return derived(image, name, functools.partial(_make_initramfs, image, kernel))


def _make_initramfs(image: Image, kernel: GuestKernel, target: Path) -> None:
    agent = image.root / AGENT_PATH.lstrip("/")
    if sha256_of(agent) != image.agent_sha256:
        raise ImageError(f"{agent} was changed", "tarebench image build --refresh")
    always = required_modules(kernel)
    optional = {
        word: required_modules(kernel, (*MODULES, *names))[len(always) :]
        for word, names in OPTIONAL_MODULES.items()
    }
    nodes = _initramfs_nodes(agent.read_bytes(), always, optional)
    target.write_bytes(cpio.archive(nodes))


def _initramfs_nodes(
    agent: bytes, always: Sequence[Module], optional: Mapping[str, Sequence[Module]]
) -> list[cpio.Node]:
    def listed(modules: Sequence[Module]) -> bytes:
        return "".join(f"/lib/{module.name}\n" for module in modules).encode()

    every = dict.fromkeys([*always, *itertools.chain.from_iterable(optional.values())])
    return [
        *(cpio.directory(name) for name in ("dev", "proc", "sys", "root", "lib")),
        # The kernel opens it for init's input and output before devtmpfs is mounted.
        cpio.character_device("dev/console", 5, 1),
        cpio.file("init", agent, 0o755),
        cpio.file("modules", listed(always)),
        *(cpio.file(f"modules-{word}", listed(modules)) for word, modules in optional.items()),
        *(cpio.file(f"lib/{module.name}", module.data) for module in every),
    ]


def _make_ext4(image: Image, target: Path) -> None:
    record = read_record(image.directory)
    entries = parse_manifest(image.manifest.read_bytes())
    with target.open("wb") as file:
        file.truncate(disk_size(entries))
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, image.digest))
    options = f"hash_seed={identity},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"
    process.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(_BLOCK), "-m", "0", "-L", "tarebench",
         "-U", identity, "-E", options, "-d", image.root, target],
        env={**os.environ, "E2FSPROGS_FAKE_TIME": str(record.recipe.epoch), "LC_ALL": "C.UTF-8"},
        hint="apt-get install e2fsprogs",
    )  # fmt: skip
    if record.ownership != "exact":
        _set_owners(target, entries)


def disk_size(entries: dict[str, ManifestEntry]) -> int:
    """Bytes of a disk that holds these entries and leaves SLACK_BYTES free, in whole MiB."""
    content = sum(-(-entry.size // _BLOCK) * _BLOCK for entry in entries.values())
    needed = content + len(entries) * 1024 + _EXT4_OVERHEAD_BYTES + SLACK_BYTES
    return -(-needed // MIB) * MIB


def _set_owners(disk: Path, entries: dict[str, ManifestEntry]) -> None:
    """Give files their owners inside the disk: an ordinary user's tree cannot hold them."""
    commands = []
    for path, entry in entries.items():
        if "\\" in path or '"' in path:
            raise ImageError(f"the owner of {path} cannot be set on a disk")
        commands.append(f'set_inode_field "{path}" uid {entry.uid}\n')
        commands.append(f'set_inode_field "{path}" gid {entry.gid}\n')
    for path in _UNLISTED:
        commands.append(f"set_inode_field {path} uid 0\nset_inode_field {path} gid 0\n")
    process.run(
        ["debugfs", "-w", "-f", "/dev/stdin", disk],
        input="".join(commands).encode(),
        hint="apt-get install e2fsprogs",
    )
