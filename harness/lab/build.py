"""Build a disk of the lab: Debian by mmdebstrap, our own set-up run in it, the image put in.

All of it runs on the host's own processor, in the tree that becomes the disk: what takes
seconds here takes minutes inside. A disk is found by the digest of everything it is made of.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import process
from harness.errors import EnvironmentRefused
from harness.image.build import build as build_image
from harness.image.cache import (
    finish,
    locked,
    partial_directory,
    remove_stale_partials,
    remove_tree,
)
from harness.image.forms import ext4, initramfs
from harness.image.guest import guest_kernel
from harness.image.mmdebstrap import Progress, bootstrap
from harness.lab import inherited, project
from harness.lab.recipe import CACHE, PROJECT, Disk, files, first_files
from harness.model import Image

NEEDED_BYTES = 12_000_000_000
_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "
    "DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 YES=1"
)
_TEST_PACKAGES = ("hypothesis", "pytest", "pytest-benchmark", "pytest-timeout")


@dataclass(frozen=True)
class Built:
    """A finished disk: its base (never written again), its kernel, and the keys to it."""

    directory: Path

    @property
    def base(self) -> Path:
        return self.directory / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd.img"

    @property
    def hypervisor(self) -> Path:
        return self.directory / "xen"

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"


def labs_directory(cache: Path) -> Path:
    """Where disks lie, by name and digest."""
    return cache / "labs"


def prune(cache: Path) -> list[Path]:
    """Remove every disk; returns their folders. Machines that still run hold theirs open."""
    labs = labs_directory(cache)
    if not labs.is_dir():
        return []
    with locked(labs / ".lock"):
        removed = sorted(entry for entry in labs.iterdir() if entry.is_dir())
        for entry in removed:
            remove_tree(entry)
    return removed


def build(cache: Path, disk: Disk, tell: Progress) -> Built:
    """The disk, built now unless it is there. Raises EnvironmentRefused, ImageError."""
    labs = labs_directory(cache)
    if not any(labs.glob(f"{disk.name}-*")):
        _require_host(cache)  # before the image is built for nothing
    image = build_image(cache, progress=tell)
    entry = labs / _entry_name(disk, image)
    if entry.is_dir():
        return Built(entry)
    _require_host(cache)
    with locked(labs / ".lock"):
        remove_stale_partials(labs)
        if not entry.is_dir():
            with partial_directory(entry) as partial:
                _build(partial, cache, disk, image, tell)
                finish(partial, entry)
        for old in labs.glob(f"{disk.name}-*"):
            if old != entry:  # machines that still run from it hold its files open
                remove_tree(old)
    return Built(entry)


def _entry_name(disk: Disk, image: Image) -> str:
    parts = [disk, disk.dpkg_options, first_files(), files("", ""), _hooks(Path(), disk, [])]
    if disk.set_up:
        parts += [project.set_up_digest(), image.digest]
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
    return f"{disk.name}-{digest[:16]}"


def _require_host(cache: Path) -> None:
    if platform.machine() != "x86_64":
        raise EnvironmentRefused("the lab's disks are made on x86-64 only")
    if os.geteuid() != 0:
        raise EnvironmentRefused(
            "a disk of the lab is built by root, who alone can give its files their owners",
            "sudo tarebench lab build; to run what is built takes no rights",
        )
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise EnvironmentRefused(
            f"{cache} has {free // 10**6} MB free, and building a lab needs "
            f"{NEEDED_BYTES // 10**6}",
            "tarebench image prune, or TAREBENCH_CACHE on a larger disk",
        )


def _build(partial: Path, cache: Path, disk: Disk, image: Image, tell: Progress) -> None:
    public, host_private = _make_keys(partial)
    texts = {**files(public, host_private), **inherited.files()}
    (partial / "first.tar").write_bytes(project.archive_of(first_files()))
    (partial / "files.tar").write_bytes(project.archive_of(texts))
    (partial / "project.tar").write_bytes(project.archive())
    tree = partial / "tree"
    arguments = [
        "--format=directory", "--variant=minbase", "--architectures=amd64",
        f"--include={','.join((*disk.packages, disk.kernel))}",
        "--skip=cleanup/apt",  # the host's sources and settings are the lab's too
        *(f"--dpkgopt={option}" for option in disk.dpkg_options),
        f"--setup-hook=tar-in {shlex.quote(str(partial / 'first.tar'))} /",
        *(f"--customize-hook={line}" for line in _hooks(partial, disk, _copies(cache, image))),
    ]  # fmt: skip
    bootstrap(
        tree, arguments, disk.suite, disk.components, epoch=disk.epoch, mode="root", tell=tell
    )
    tell("making the disk")
    for archive in partial.glob("*.tar"):
        archive.unlink()
    for name, target in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")):
        (newest,) = (tree / "boot").glob(f"{name}-*")
        shutil.copyfile(newest, partial / target)
    for packed in (tree / "boot").glob("xen-*.gz"):  # QEMU loads it unpacked
        (partial / "xen").write_bytes(gzip.decompress(packed.read_bytes()))
    _make_disk(tree, partial / "disk.raw", disk.bytes)
    remove_tree(tree)


def _hooks(partial: Path, disk: Disk, copies: Sequence[str]) -> Sequence[str]:
    """Shell lines that mmdebstrap runs with the tree as `$1`."""
    inside = f'chroot "$1" env -i -C / {_ENVIRONMENT}'
    lines = [
        f"tar-in {shlex.quote(str(partial / 'files.tar'))} /",
        'chroot "$1" systemctl --quiet enable systemd-networkd ssh',
        'chroot "$1" systemctl --quiet disable systemd-networkd-wait-online',
    ]
    if disk.set_up:
        lines += [
            f'mkdir -p "$1"{PROJECT} "$1"{CACHE}',
            f"tar-in {shlex.quote(str(partial / 'project.tar'))} {PROJECT}",
            f"{inside} python3 {PROJECT}/setup/bootstrap.py",
            f"{inside} {PROJECT}/.venv/bin/pip install --quiet -c {PROJECT}/constraints.txt "
            + " ".join(_TEST_PACKAGES),
            # By the text's hash and not its time: the checkout of a later day has the same text.
            f"{inside} {PROJECT}/.venv/bin/python -m compileall -q --invalidation-mode "
            f"checked-hash {PROJECT}/harness {PROJECT}/runtimes {PROJECT}/scenarios",
            *copies,
        ]
    return [*lines, *disk.customize, 'chroot "$1" apt-get clean', 'rm -f "$1"/etc/resolv.conf',
            'echo nameserver 10.0.2.3 > "$1"/etc/resolv.conf']  # fmt: skip


def _copies(cache: Path, image: Image) -> Sequence[str]:
    """The host's image, kernel and agent in the place of root's own cache. Of the image's forms
    come those that guests of every kind boot from; what else is asked for is made inside."""
    parts = [path for path in image.directory.iterdir() if path.name != "forms"]
    own = [*parts, ext4(image), initramfs(image, guest_kernel(cache))]
    names = [
        *sorted(str(path.relative_to(cache.resolve())) for path in own), "images/by-recipe",
        "kernels", "agent", "launcher",
    ]  # fmt: skip
    there = [name for name in names if (cache / name).exists()]
    return [
        f"cd {shlex.quote(str(cache))} && cp --archive --parents --sparse=always "
        f'{shlex.join(there)} "$1"{CACHE}/'
    ]


def _make_keys(partial: Path) -> tuple[str, str]:
    """A key of the user's for this disk, and one of the machine: (public, the machine's own)."""
    own, host = partial / "id_ed25519", partial / "host_key"
    for path in (own, host):
        process.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tarebench-lab", "-f", path],
            hint="apt-get install openssh-client",
        )
    kind, public, *_ = host.with_suffix(".pub").read_text().split()
    (partial / "known_hosts").write_text(f"lab {kind} {public}\n")
    private = host.read_text()
    host.unlink()
    return own.with_suffix(".pub").read_text(), private


def _make_disk(tree: Path, target: Path, size: int) -> None:
    """Nothing is left to be initialised inside: that would take the machine's time."""
    with target.open("wb") as file:
        file.truncate(size)
    process.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "lab", "-N", "400000",
         "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", tree, target],
        hint="apt-get install e2fsprogs",
    )  # fmt: skip
