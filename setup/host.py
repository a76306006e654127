"""What tarebench needs from the host, and how a Debian machine gets it.

A need is met by what is there (a program, a header, a library), not by a package's name, so
that another vendor's package serves as well: containerd.io's runc, docker-ce's engine, or a
compiler from elsewhere. Standard library only: this runs before there is an environment.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LISTS = Path("/var/lib/apt/lists")
_STALE_AFTER_S = 24 * 3600
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_DOCKER_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
_DEBIAN_KEYRINGS = Path("/usr/share/keyrings")
UEFI_FIRMWARE = Path("/usr/share/qemu/firmware")
"""Where the firmware of machines is registered (docs/interop/firmware.json of QEMU)."""


@dataclass(frozen=True)
class Need:
    """One thing of the host: the Debian package that brings it, and what it is good for.

    `units` are services that the package would start at once and at every boot, and that we
    have no use for: they are masked before it is installed.
    """

    package: str
    purpose: str
    met: Callable[[], bool]
    units: tuple[str, ...] = ()


def program(name: str) -> bool:
    """Whether a program is installed, also where an ordinary user's PATH does not look."""
    path = os.environ.get("PATH", os.defpath) + ":" + _SYSTEM_PATH
    return shutil.which(name, path=path) is not None


def library(pattern: str) -> bool:
    """Whether a file lies in, or one folder below, one of those that hold libraries."""
    folders = [Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")]
    return any(any(base.glob(f"{depth}{pattern}")) for base in folders for depth in ("", "*/"))


def chinese_font() -> bool:
    """Whether there is a font with Chinese letters, by the names that such fonts' files have."""
    fonts = Path("/usr/share/fonts").rglob("*.[ot]t[cf]")
    return any(re.search("cjk|wqy|droidsansfallback", font.name.lower()) for font in fonts)


def account(name: str) -> bool:
    """Whether there is a user of this name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def docker_engine() -> bool:
    """Whether there is any Docker engine: a daemon to start, a socket, or one told of."""
    return (
        program("dockerd")
        or any(Path(socket).exists() for socket in _DOCKER_SOCKETS)
        or bool(os.environ.get("DOCKER_HOST"))
    )


def apparmor() -> bool:
    """Whether profiles can be loaded: Docker starts nothing without, where the kernel has them."""
    told = _APPARMOR.read_text().strip() if _APPARMOR.exists() else "N"
    return told != "Y" or program("apparmor_parser")


def debian_keyring() -> bool:
    """Whether Debian's signatures can be verified: Ubuntu's apt does without these keys."""
    return any(_DEBIAN_KEYRINGS.glob("debian-archive-keyring.*"))


def netavark() -> bool:
    """Whether Podman finds what makes its networks; it is on nobody's search path."""
    bases = ("/usr/lib", "/usr/libexec", "/usr/local/libexec")
    return any(Path(base, "podman", "netavark").exists() for base in bases)


def distribution_python() -> bool:
    """Whether this Python is the distribution's, whose parts come as packages of their own."""
    return Path(sys.base_prefix) == Path("/usr")


def _ensurepip() -> bool:
    import importlib.util

    return not distribution_python() or importlib.util.find_spec("ensurepip") is not None


def _headers() -> bool:
    here = Path(sysconfig.get_path("platinclude"), "Python.h")
    return not distribution_python() or here.exists()


def libvirt_headers() -> bool:
    """Whether libvirt-python can be compiled against the host's libvirt."""
    return Path("/usr/include/libvirt/libvirt.h").exists() and program("pkg-config")


NEEDS: tuple[Need, ...] = (
    Need("python3-venv", "the virtual environment", _ensurepip),
    Need("python3-dev", "to compile libvirt-python", _headers),
    Need("gcc", "to compile the agent", lambda: program("cc") or program("gcc")),
    Need("libc6-dev", "to link the agent statically", lambda: library("libc.a")),
    Need("pkg-config", "to compile libvirt-python", lambda: program("pkg-config")),
    Need("libvirt-dev", "to compile libvirt-python", libvirt_headers),
    Need(
        "libvirt-daemon-driver-qemu",
        "virtual machines, inside our own process",
        lambda: library("libvirt/connection-driver/libvirt_driver_qemu.so"),
    ),
    Need(
        "libvirt-daemon-system",
        "the account libvirt-qemu, without which libvirt's driver does not start",
        lambda: account("libvirt-qemu"),
    ),
    Need(
        "libvirt-daemon-driver-lxc",
        "containers of libvirt",
        lambda: library("libvirt/connection-driver/libvirt_driver_lxc.so"),
    ),
    Need("qemu-system-x86", "virtual machines", lambda: program("qemu-system-x86_64")),
    Need("qemu-utils", "disks of virtual machines", lambda: program("qemu-img")),
    Need("e2fsprogs", "disks of virtual machines", lambda: program("mke2fs")),
    Need("fdisk", "disks with a boot loader", lambda: program("sfdisk")),
    Need("mtools", "disks with a boot loader", lambda: program("mformat")),
    Need("grub-common", "disks with a boot loader", lambda: program("grub-mkimage")),
    Need("grub-pc-bin", "disks that a BIOS boots", lambda: library("grub/i386-pc/boot.img")),
    Need(
        "grub-efi-amd64-bin",
        "disks that UEFI boots",
        lambda: library("grub/x86_64-efi/moddep.lst"),
    ),
    Need("ovmf", "machines with UEFI", lambda: any(UEFI_FIRMWARE.glob("*x86_64*.json"))),
    Need("mmdebstrap", "the image", lambda: program("mmdebstrap")),
    Need("debian-archive-keyring", "the image, whose packages Debian signs", debian_keyring),
    Need("uidmap", "the image, built by an ordinary user", lambda: program("newuidmap")),
    Need("iproute2", "networks of boxes", lambda: program("ip")),
    Need("runc", "containers without a daemon", lambda: program("runc")),
    Need("crun", "containers without a daemon", lambda: program("crun")),
    Need("criu", "to checkpoint containers", lambda: program("criu")),
    Need("runsc", "sandboxed containers of gVisor", lambda: program("runsc")),
    Need("bubblewrap", "jails made by bubblewrap", lambda: program("bwrap")),
    Need(
        "lxc",
        "containers of LXC",
        lambda: program("lxc-start"),
        units=("lxc.service", "lxc-net.service", "lxc-monitord.service"),
    ),
    Need("systemd-container", "containers of systemd-nspawn", lambda: program("systemd-nspawn")),
    Need("docker.io", "containers of Docker Engine; none is here", docker_engine),
    Need("apparmor", "containers of Docker: this kernel has AppArmor on", apparmor),
    Need(
        "docker-registry",
        "a registry to push images to",
        lambda: program("docker-registry"),
        units=("docker-registry.service",),
    ),
    Need("podman", "containers of Podman", lambda: program("podman")),
    Need("conmon", "containers of Podman", lambda: program("conmon")),
    Need("netavark", "the bridge of Podman's containers", netavark),
    Need("iptables", "the bridge of Podman's containers", lambda: program("iptables")),
    Need("nftables", "the bridge of newer Podman's containers", lambda: program("nft")),
    Need("tini", "to reap what a private Docker engine leaves", lambda: program("tini")),
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

TEST_NEEDS: tuple[Need, ...] = (
    Need("chromium", "to test reports in a browser", lambda: any(map(program, BROWSERS))),
    Need("openssh-client", "to test far hosts", lambda: program("ssh")),
    Need("hyperfine", "benchmarks of our own speed", lambda: program("hyperfine")),
    Need("fonts-wqy-microhei", "to draw charts in Chinese in tests", chinese_font),
    Need("libxml2-utils", "to check the XML of machines in tests", lambda: program("xmllint")),
)


def missing(for_tests: bool = False) -> list[Need]:
    """The needs that are not met."""
    return [need for need in NEEDS + TEST_NEEDS * for_tests if not need.met()]


class Apt:
    """apt-get, as root or through sudo; sudo is used here and nowhere else."""

    def __init__(self, interactive: bool) -> None:
        self.present = program("apt-get") and Path("/etc/debian_version").exists()
        self._prefix: tuple[str, ...] | None = ()
        if os.geteuid() != 0:
            self._prefix = _sudo(interactive) if program("sudo") else None

    @property
    def usable(self) -> bool:
        """Whether packages can be installed here and now."""
        return self.present and self._prefix is not None

    def update_if_stale(self) -> bool:
        """Fetch the package lists where there are none from the last day; True when it did."""
        if time.time() - _lists_fetched() < _STALE_AFTER_S:
            return False
        if self._run(["update"]) != 0:
            say("apt-get update failed; going on with the lists that are here")
        return True

    def install(self, packages: Sequence[str]) -> bool:
        """Install packages without their recommendations; True when apt succeeded."""
        command = ["install", "--yes", "--no-install-recommends", *packages]
        return self._run(command) == 0

    def mask(self, units: Sequence[str]) -> bool:
        """Keep services from ever being started by others; True when that is so."""
        assert self._prefix is not None
        argv = [*self._prefix, "systemctl", "mask", "--quiet", *units]
        done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL)
        return done.returncode == 0

    def objection(self, packages: Sequence[str]) -> str:
        """Why apt could not install these without loss; empty when it can. Changes nothing."""
        done = subprocess.run(
            ["apt-get", "install", "--simulate", "--no-install-recommends", *packages],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        removed = re.findall(r"^Remv (\S+)", done.stdout, re.MULTILINE)
        if removed:
            return f"would remove {', '.join(removed)}"
        if done.returncode == 0:
            return ""
        errors = re.findall(r"^E: (.+)", done.stderr, re.MULTILINE)
        return errors[0].rstrip(".") if errors else "apt-get refuses"

    def _run(self, arguments: Sequence[str]) -> int:
        assert self._prefix is not None
        argv = [
            *self._prefix,
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            *("-o", "Dpkg::Use-Pty=0"),
            *("-o", "DPkg::Lock::Timeout=300"),
            *arguments,
        ]
        return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL).returncode


def _lists_fetched() -> float:
    """When the newest list of packages was fetched; 0 where there is none."""
    return max((path.stat().st_ctime for path in _LISTS.glob("*_Packages*")), default=0.0)


def _sudo(interactive: bool) -> tuple[str, ...] | None:
    """How to call sudo: without a terminal it must not ask for a password."""
    if interactive:
        return ("sudo",)
    able = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    return ("sudo", "-n") if able else None


def installable(apt: Apt, needs: Sequence[Need]) -> tuple[list[Need], list[tuple[Need, str]]]:
    """Part the needs into what apt can install without loss and what it cannot, with reasons."""
    if not apt.objection([need.package for need in needs]):
        return list(needs), []
    kept: list[Need] = []
    left: list[tuple[Need, str]] = []
    for need in needs:
        reason = apt.objection([*(other.package for other in kept), need.package])
        if reason:
            left.append((need, reason))
        else:
            kept.append(need)
    return kept, left


def command_for(needs: Sequence[Need]) -> str:
    """The command that an administrator types."""
    packages = " ".join(need.package for need in needs)
    update = "" if _lists_fetched() else "apt-get update && "
    return f"{update}apt-get install --no-install-recommends {packages}"


def say(text: str) -> None:
    """One line to the user, in order with what apt and pip print."""
    print(f"tarebench: {text}", file=sys.stderr, flush=True)


def provide(ask: bool, for_tests: bool = False) -> None:
    """Install what is missing, as far as this user and this host allow; say what is not."""
    needs = missing(for_tests)
    if not needs:
        return
    apt = Apt(interactive=ask)
    say("this host lacks:")
    for need in needs:
        say(f"  {need.package:<28} {need.purpose}")
    if not apt.usable:
        why = "no rights to install" if apt.present else "not a Debian system with apt-get"
        say(f"{why}; going on with what works. To have the rest, as root:")
        say(f"  {command_for(needs)}")
        return
    kept = _without_harmful(apt, needs) if _lists_fetched() else needs
    if kept and ask and not _agreed():
        say(f"nothing installed; going on with what works. Later: {command_for(kept)}")
        return
    if kept and apt.update_if_stale():
        kept = _without_harmful(apt, kept)
    kept = _without_their_services(apt, kept)
    if kept and not apt.install([need.package for need in kept]):
        say(f"apt-get failed; going on with what works. To try again: {command_for(kept)}")


def _without_their_services(apt: Apt, needs: Sequence[Need]) -> list[Need]:
    """Mask what packages would start; a package whose services cannot be masked is left out."""
    kept: list[Need] = []
    for need in needs:
        if not need.units or not program("systemctl"):
            kept.append(need)
        elif apt.mask(need.units):
            say(f"  {need.package} is installed without its services")
            say(f"  to have them: systemctl unmask {' '.join(need.units)}")
            kept.append(need)
        else:
            say(f"  {need.package} is left out: its services would be started")
    return kept


def _without_harmful(apt: Apt, needs: Sequence[Need]) -> list[Need]:
    """What can be installed without loss; the rest is told with its reason."""
    kept, left = installable(apt, needs)
    for need, reason in left:
        say(f"  {need.package} is left out: {reason}")
    return kept


def _agreed() -> bool:
    sys.stderr.write("tarebench: install them now with apt-get? [Y/n] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"", "y", "yes"}
