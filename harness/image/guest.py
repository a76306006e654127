"""The guests' kernel: Debian's cloud kernel, fetched and unpacked, never installed.

Installing a kernel package would change the host's boot. Its archive is fetched through the
host's apt, which every user may do, and unpacked to the cache, once a version. A guest gets
the kernel uncompressed where that is possible (see bzimage), and of its modules only those
that reach the disk and the channel.
"""

from __future__ import annotations

import contextlib
import lzma
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import paths, process
from harness.errors import CommandFailed, ImageError
from harness.image.bzimage import extract_vmlinux, has_pvh_entry
from harness.image.cache import finish, locked, partial_directory, partial_file, remove_tree

MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console")
"""What reaches the disk and the channel, on PCI (q35) and without (microvm)."""

OPTIONAL_MODULES: Mapping[str, Sequence[str]] = {
    "balloon": ("virtio_balloon",),
    "scsi": ("virtio_scsi", "sd_mod"),
    "xen": ("xen_blkfront",),
    "vmware": ("vmw_pvscsi", "sd_mod"),
}
"""What a guest also loads when its command line says the word."""

_PACKAGES = {"x86_64": "linux-image-cloud-amd64", "aarch64": "linux-image-cloud-arm64"}
_HINT = "apt-get update, on a Debian host"


@dataclass(frozen=True)
class GuestKernel:
    """An unpacked kernel package.

    `vmlinux` is the uncompressed kernel that QEMU can start directly, or None;
    `package_version` is Debian's, `version` what `uname -r` will say.
    """

    version: str
    package_version: str
    vmlinuz: Path
    vmlinux: Path | None
    directory: Path

    @property
    def boot_file(self) -> Path:
        """What to hand to `-kernel`: the fastest form there is."""
        return self.vmlinux or self.vmlinuz

    @property
    def modules_directory(self) -> Path:
        """The folder of the kernel's modules: since Debian 13 the package has it below /usr."""
        root, inside = self.directory / "root", Path("lib", "modules", self.version)
        return root / "usr" / inside if (root / "usr" / inside).is_dir() else root / inside


@dataclass(frozen=True)
class Module:
    """A module as the kernel takes it: the name of its file, and the file unpacked."""

    name: str
    data: bytes


def guest_kernel(cache: Path, *, refresh: bool = False) -> GuestKernel:
    """The guests' kernel, fetched now unless one is cached; `refresh` looks for a newer one.

    Raises ImageError where apt does not know the package or cannot fetch it.
    """
    if not refresh and (ready := cached_kernel(cache)) is not None:
        return ready
    kernels = cache / "kernels"
    with locked(kernels / ".lock"):
        if not refresh and (ready := cached_kernel(cache)) is not None:
            return ready
        package = _newest_package()
        version = package.removeprefix("linux-image-")
        if refresh:
            _forget(kernels / version)
        if not (kernels / version).is_dir():
            _fetch(package, version, kernels / version)
        with partial_file(kernels / "current") as pointer:
            pointer.write_text(version + "\n")
    return load_kernel(kernels / version)


def cached_kernel(cache: Path) -> GuestKernel | None:
    """The kernel that was fetched last, or None; milliseconds, no apt.

    As with images, root's is good for whoever has fetched none into a cache of their own.
    """
    for place in paths.image_caches() if cache == paths.cache() else (cache,):
        with contextlib.suppress(FileNotFoundError, ImageError):
            version = (place / "kernels" / "current").read_text().strip()
            return load_kernel(place / "kernels" / version)
    return None


def load_kernel(directory: Path) -> GuestKernel:
    """The kernel in a folder of the cache; raises ImageError if there is none."""
    version = directory.name
    vmlinuz = directory / "root" / "boot" / f"vmlinuz-{version}"
    package_version = directory / "package-version"
    if not vmlinuz.is_file() or not package_version.is_file():
        raise ImageError(f"{directory} holds no kernel", "tarebench image build")
    vmlinux = directory / "vmlinux"
    return GuestKernel(
        version=version,
        package_version=package_version.read_text().strip(),
        vmlinuz=vmlinuz,
        vmlinux=vmlinux if vmlinux.is_file() else None,
        directory=directory,
    )


def required_modules(kernel: GuestKernel, names: Sequence[str] = MODULES) -> list[Module]:
    """The modules to load, each after those that it needs; built-in ones are left out.

    What a module needs is read from the module itself: the lists that depmod writes are not
    in the package, and depmod need not be on this host.
    """
    builtin = _builtin_names(kernel.modules_directory)
    files = {
        _module_name(path): path
        for path in sorted(kernel.modules_directory.rglob("*.ko*"), reverse=True)
    }
    ordered: dict[str, Module] = {}

    def visit(name: str) -> None:
        if name in ordered or name in builtin:
            return
        if name not in files:
            raise ImageError(f"the kernel {kernel.version} has no module {name}", _HINT)
        module = _unpacked(files[name])
        for needed in module_needs(module.data):
            visit(needed)
        ordered[name] = module

    for name in names:
        visit(name)
    return list(ordered.values())


def _unpacked(file: Path) -> Module:
    """Debian packs modules since its release 13, and a guest's /init hands over what it has."""
    try:
        data = lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()
    except lzma.LZMAError as error:
        raise ImageError(f"{file} cannot be unpacked: {error}", _HINT) from error
    return Module(file.name.removesuffix(".xz"), data)


def module_needs(module: bytes) -> list[str]:
    """The names in the field `depends=` of a module's section .modinfo."""
    found = re.search(rb"\0depends=([\w,-]*)\0", module)
    names = found[1].decode().split(",") if found else []
    return [name.replace("-", "_") for name in names if name]


def _builtin_names(directory: Path) -> set[str]:
    listed = directory / "modules.builtin"
    return {_module_name(Path(line)) for line in listed.read_text().splitlines()}


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _newest_package() -> str:
    """The package of the newest cloud kernel that the host's apt knows."""
    general = _PACKAGES.get(platform.machine())
    if general is None:
        raise ImageError(f"no guest kernel is known for {platform.machine()}")
    try:
        told = process.run(["apt-cache", "depends", general], hint=_HINT).stdout.decode()
    except CommandFailed as error:
        raise ImageError(f"the guests' kernel is not known: {error.message}", _HINT) from error
    found = re.search(r"Depends: (linux-image-[^\s<>]+)", told)
    if found is None:
        raise ImageError(f"apt knows no {general}", _HINT)
    return found[1]


def _fetch(package: str, version: str, final: Path) -> None:
    with partial_directory(final) as partial:
        try:
            process.run(["apt-get", "download", package], cwd=partial, hint=_HINT)
            (archive,) = partial.glob("*.deb")
            process.run(["dpkg-deb", "--extract", archive, partial / "root"])
            told = process.run(["dpkg-deb", "--field", archive, "Version"]).stdout
        except (CommandFailed, ValueError) as error:
            raise ImageError(f"{package} cannot be fetched: {error}", _HINT) from error
        archive.unlink()
        (partial / "package-version").write_bytes(told)
        kernel = extract_vmlinux((partial / "root" / "boot" / f"vmlinuz-{version}").read_bytes())
        if kernel is not None and has_pvh_entry(kernel):
            (partial / "vmlinux").write_bytes(kernel)
        finish(partial, final)


def _forget(directory: Path) -> None:
    if directory.is_dir():
        remove_tree(directory)
