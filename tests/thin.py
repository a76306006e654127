"""The thinnest machine of the lab: this host's own QEMU and libvirt above the guests' kernel.

A disk of the lab takes a quarter of an hour to build and minutes to boot, which `make test` has
not. What is true KVM in it is a kernel with its module for AMD's processors, QEMU and libvirt; so
here they are this host's own files, and of its Python those parts that start a guest. The kernel
is the one that guests have; its initramfs loads the module, tells the lab that it is up, runs one
command and switches the machine off. There is no systemd, no network and nobody to log in.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import process
from harness.image import cpio
from harness.image.forms import ext4, initramfs, overlay_disk
from harness.image.guest import GuestKernel, required_modules
from harness.image.store import RECORD
from harness.lab.machine import Boot
from harness.lab.recipe import CACHE, PORT, PROJECT, UP, kernel_words
from harness.model import MIB, Image

PACKAGES = ("coreutils", "libvirt-daemon", "libvirt-daemon-driver-qemu", "python3",
            "qemu-system-x86", "qemu-utils")  # fmt: skip
DISTRIBUTIONS = ("libvirt-python", "msgspec", "psutil", "tarebench", "typing_extensions")
_OURS = ("harness", "runtimes", "scenarios", "tests")
_SITE = PROJECT / "site"
_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "kvm_amd")
_MEMORY = 1536 * MIB
_DISK_BYTES = 2048 * MIB
_CHECKOUT = Path(__file__).resolve().parents[1]
_UNREAD = tuple(f"/usr/share/{name}/" for name in ("doc", "info", "locale", "man"))
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in $(cat /order); do insmod /lib/$module; done
mount -t ext4 /dev/vda /disk
for name in proc sys dev; do mount --bind /$name /disk/$name; done
mount -t tmpfs run /disk/run; mount -t tmpfs tmp /disk/tmp
mount -t cgroup2 cgroup2 /disk/sys/fs/cgroup
for port in /sys/class/virtio-ports/*; do
    [ "$(cat $port/name)" = {port} ] || continue
    echo {up} $(grep -m 1 ^flags /proc/cpuinfo | grep -o -w -E 'svm|npt') > /dev/${{port##*/}}
done
cd /
env -i {environment} chroot /disk {python} -m {module}
echo "its exit status: $?"
dmesg | grep -i -E 'svm|kvm'
poweroff -f
"""


def thin_machine(folder: Path, image: Image, kernel: GuestKernel, module: str) -> tuple[Boot, Path]:
    """What starts a machine that runs a module of ours and ends, and its disk; by root."""
    tree, base, initrd = folder / "tree", folder / "base.raw", folder / "initrd.cpio"
    _make_tree(tree, image, kernel)
    with base.open("wb") as file:
        file.truncate(_DISK_BYTES)
    process.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0",
         "-d", tree, base]
    )  # fmt: skip
    shutil.rmtree(tree)
    disk = folder / "disk.qcow2"
    overlay_disk(base, disk)
    initrd.write_bytes(_initramfs(image, kernel, module))
    words = " ".join(kernel_words())
    return Boot(kernel.vmlinuz, str(initrd), words, _MEMORY, cpus=1), disk


def _make_tree(tree: Path, image: Image, kernel: GuestKernel) -> None:
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "usr", "var/lib"):
        (tree / name).mkdir(parents=True)
    for top in _MERGED:  # what a package has in one of them is found in the other, as here
        if Path("/", top).is_symlink():
            (tree / "usr" / top).mkdir()
            (tree / top).symlink_to(f"usr/{top}")
    _copy([*_packaged(), *_python(), "/etc/ld.so.cache", "/etc/passwd", "/etc/group"], tree)
    for name in _OURS:
        shutil.copytree(_CHECKOUT / name, tree / PROJECT.relative_to("/") / name)
    for file in _distributed():
        target = tree / _SITE.relative_to("/") / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file.locate(), target)
    place = tree / CACHE.relative_to("/")
    place.mkdir(parents=True)
    for cache, files in _cached(image, kernel):
        _copy([str(file.relative_to(cache)) for file in files], place, cache)


def _copy(names: Sequence[str], target: Path, start: Path = Path("/")) -> None:
    """With their paths, and folders with all that they hold; holes stay holes."""
    argv: list[str | Path] = [
        "cp",
        "--archive",
        "--parents",
        "--sparse=always",
        "--target-directory",
        target,
    ]
    process.run([*argv, *(name.lstrip("/") for name in names)], cwd=start)


def _packaged() -> Sequence[str]:
    """The files of the packages and of what they depend on, as they are installed here."""
    only = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks",
                                        "replaces", "enhances")]  # fmt: skip
    asked = ["apt-cache", "depends", "--recurse", "--installed", *only, *PACKAGES]
    told = process.run(asked).stdout.decode().splitlines()
    there = process.run(["dpkg-query", "--show", "--showformat", "${Package}\\n"]).stdout.decode()
    packages = {line for line in told if line[0] not in " |<"}.intersection(there.split())
    listed = process.run(["dpkg-query", "--listfiles", *sorted(packages)]).stdout.decode()
    return [
        name
        for name in dict.fromkeys(listed.splitlines())
        if os.path.lexists(name)
        and not name.startswith(_UNREAD)
        and not stat.S_ISDIR(os.lstat(name).st_mode)
        and name.lstrip("/") not in _MERGED
    ]


def _python() -> Sequence[str]:
    """This Python without what is installed into it: its program, its library, its modules."""
    program, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    parts = [
        str(part) for part in library.iterdir()
        if part.name not in ("site-packages", "dist-packages", "test", "idlelib")
        and not part.name.startswith("config-")
    ]  # fmt: skip
    shared = Path(str(sysconfig.get_config_var("LIBDIR"))).glob("libpython3*.so*")
    return [str(program), *map(str, shared), *parts]


def _distributed() -> Iterator[importlib.metadata.PackagePath]:
    """What pip has installed of what a guest's start needs; of ourselves the entry points alone."""
    for name in DISTRIBUTIONS:
        for file in importlib.metadata.distribution(name).files or ():
            if file.parts[0] not in ("..", *_OURS) and "editable" not in file.name:
                yield file


def _cached(image: Image, kernel: GuestKernel) -> Iterator[tuple[Path, Sequence[Path]]]:
    """What a guest boots from and what says which image it is, after the cache that holds it."""
    own = [image.manifest, image.directory / RECORD]
    images, kernels = image.directory.parents[1], kernel.directory.parent
    yield images, [*own, ext4(image), initramfs(image, kernel), images / "agent",
                   images / "images" / "by-recipe"]  # fmt: skip
    yield kernels.parent, [kernels / "current", kernel.directory / "package-version",
                           kernel.boot_file, kernel.vmlinuz]  # fmt: skip


def _initramfs(image: Image, kernel: GuestKernel, module: str) -> bytes:
    order = required_modules(kernel, _MODULES)
    values = {
        "HOME": "/root", "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{PROJECT}:{_SITE}", "TAREBENCH_CACHE": CACHE,
    }  # fmt: skip
    environment = " ".join(f"{name}={value}" for name, value in values.items())
    python = Path(sys.executable).resolve()
    init = _INIT.format(port=PORT, up=UP, environment=environment, python=python, module=module)
    busybox = (image.root / "usr/bin/busybox").read_bytes()
    return cpio.archive(
        [
            *(cpio.directory(name) for name in ("bin", "dev", "disk", "lib", "proc", "sys")),
            cpio.character_device("dev/console", 5, 1),
            cpio.file("bin/busybox", busybox, 0o755),
            cpio.file("init", init.encode(), 0o755),
            cpio.file("order", "".join(f"{each.name}\n" for each in order).encode()),
            *(cpio.file(f"lib/{each.name}", each.data) for each in order),
        ]
    )
