"""What the lab's machines are made of, as data: packages, kernel, files, and what proves them.

A *disk* is one Debian root filesystem; a *profile* is a disk and a way to boot it. Like the
image's recipe it is hashed: change a word here and the next `lab build` makes another disk.
The packages that tarebench itself needs are not listed here: its own set-up, the same that
`make` runs, installs them while the disk is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from harness.errors import UsageError
from harness.model import MIB, Frozen

PROJECT = PurePosixPath("/srv/tarebench")
"""Where the checkout lies inside."""
CACHE = PurePosixPath("/var/cache/tarebench")
"""Where the host's image lies inside: root's own cache."""
PORT = "org.tarebench.lab"
"""The port by which the machine says that it is up."""
UP = "up"
"""The first word that it says; the CPU's flags that matter here follow."""
REPOSITORY = PurePosixPath("/srv/tarebench.git")
"""Where an ordinary user finds what to clone, on a machine that has no checkout."""
USER = "student"
_KEYS = "/etc/ssh/lab_authorized_keys"
_UP_SCRIPT = f"""#!/bin/sh
# Waits until every start job is done, then says so, with those CPU flags that matter here.
systemctl is-system-running --wait >/dev/null
told=$(grep -m 1 '^flags' /proc/cpuinfo | grep -o -w -E 'svm|npt' | tr '\\n' ' ')
echo "{UP} $told" > /dev/virtio-ports/{PORT}
"""

_BASE = (
    "ca-certificates", "dbus", "initramfs-tools", "iproute2", "kmod", "openssh-server",
    "systemd-sysv", "udev",
)  # fmt: skip
_MAKE = ("git", "make", "python3", "python3-venv")


_NOT_SAFE = "force-unsafe-io"
"""What a disk that is still made is worth, should the power be lost, is nothing."""
_UNREAD = tuple(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man"))
"""What nobody reads in a machine that is told its commands; a fresh Debian has it."""


class Disk(Frozen, frozen=True):
    """One root filesystem: Debian packages, and whether our own set-up is run in it.

    `kernel` is the package of the kernel that boots it; `customize` are shell commands that
    mmdebstrap runs at last, with the tree as `$1`. `warm` are commands of the checkout that run
    once in the machine before its state is saved: what they find out is known to every use.
    """

    name: str
    packages: tuple[str, ...]
    kernel: str = "linux-image-cloud-amd64"
    customize: tuple[str, ...] = ()
    suite: str = "bookworm"
    components: str = "main"
    set_up: bool = True
    warm: tuple[str, ...] = ()
    epoch: int = 1_700_000_000
    bytes: int = 16 * 1024 * MIB
    """The size that the machine sees; what is not written takes no room."""

    @property
    def dpkg_options(self) -> Sequence[str]:
        """What dpkg is told, now and later."""
        return (_NOT_SAFE, *(_UNREAD if self.set_up else ()))


class Profile(Frozen, frozen=True):
    """A disk, how it is booted, and the commands whose output proves what ran inside."""

    name: str
    text: str
    disk: Disk
    memory_bytes: int
    proofs: tuple[str, ...]
    flags: tuple[str, ...] = ()
    """Words that the processor must have inside."""
    hypervisor: str = ""
    """The words of a hypervisor that is booted first, with the kernel as its module."""
    least_bytes: int = 1024 * MIB
    """With less memory it does not come up."""

    @property
    def user(self) -> str:
        """Who works there: root in the checkout, or an ordinary user who has yet to get one."""
        return "root" if self.disk.set_up else USER

    @property
    def start(self) -> PurePosixPath:
        """The folder in which commands begin."""
        return PROJECT if self.disk.set_up else PurePosixPath("/home", USER)

    @property
    def runs(self) -> PurePosixPath:
        """Where runs land."""
        checkout = PROJECT if self.disk.set_up else self.start / REPOSITORY.stem
        return checkout / "results" / "runs"


# What is done by the clock would be done in the midst of a run, for a machine of the lab goes on
# from a day that is past. Daemons whose sockets are listened on start when they are asked.
_BY_THE_CLOCK = " ".join(
    f"{name}.timer"
    for name in (
        "apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "fstrim", "logrotate",
        "podman-auto-update", "systemd-tmpfiles-clean",
    )
)  # fmt: skip
_WHEN_ASKED = " ".join(
    f'"$1"/etc/systemd/system/multi-user.target.wants/{name}.service'
    for name in ("containerd", "docker", "libvirtd", "libvirt-guests")
)
_QUIET = (f'chroot "$1" systemctl --quiet mask {_BY_THE_CLOCK}', f"rm -f {_WHEN_ASKED}")

MACHINE = Disk(
    # The kernel that boots it has AppArmor on, and Docker then needs it; the host's may not.
    "machine", (*_BASE, *_MAKE, "apparmor"), customize=_QUIET,
    warm=("tarebench doctor --runtime bare --runtime runc --runtime kvm "
          "--runtime kvm,machine=microvm",),
)  # fmt: skip

# Nothing but what README.md asks for; sudo asks for no password, as in the images of clouds.
_ORDINARY = (
    f'chroot "$1" useradd --create-home --shell /bin/bash --groups sudo --password "*" {USER}',
    f'echo "{USER} ALL=(ALL) NOPASSWD: ALL" > "$1"/etc/sudoers.d/{USER}',
    f'chmod 440 "$1"/etc/sudoers.d/{USER}',
)
FRESH = Disk("fresh", (*_BASE, "git", "make", "python3", "sudo"), customize=_ORDINARY, set_up=False)
FRESH_13 = msgspec.structs.replace(FRESH, name="fresh13", suite="trixie")

_LIKE_UBUNTU = Path(__file__).with_name("like_ubuntu.sh").read_text()
LIKE_UBUNTU = Disk(
    "ubuntulike", (*_BASE, "git", "make", "python3", "sudo-rs", "apparmor", "apparmor-profiles"),
    suite="trixie", customize=(*_ORDINARY, _LIKE_UBUNTU), set_up=False,
)  # fmt: skip

_CGROUP_PROOFS = (
    "findmnt --noheadings --output TARGET,FSTYPE,OPTIONS /sys/fs/cgroup",
    "cat /sys/fs/cgroup/cgroup.controllers",
    "cat /proc/1/comm",
    "systemctl --version | head -n 1",
)
_KVM_PROOFS = (
    "grep -m 1 'model name' /proc/cpuinfo",
    "grep -o -w -E 'svm|npt|hypervisor' /proc/cpuinfo | sort | uniq -c",
    "lsmod | grep kvm",
    "dmesg | grep -i -E 'svm|nested paging|kvm'",
    'echo \'{"execute":"qmp_capabilities"} {"execute":"query-kvm"} {"execute":"quit"}\''
    " | qemu-system-x86_64 -accel kvm -machine q35 -nodefaults -display none -S -qmp stdio",
)

_FRESH_PROOFS = (
    "head -n 1 /etc/os-release",
    "cat /proc/1/comm",
    f"id {USER}",
    "stat -f -c %T /sys/fs/cgroup",
    "dpkg --list | grep -c ^ii",
)

_LIKE_UBUNTU_PROOFS = (
    *_FRESH_PROOFS,
    "ls /etc/apt/sources.list.d",
    "sudo --version",
    "stat -c '%a %n' /boot/vmlinuz-*",
    "sysctl kernel.apparmor_restrict_unprivileged_unconfined",
)

_XEN_CPU_MAP = "/usr/share/libvirt/cpu_map/x86_486.xml"
_XEN_HOOK = f"""sed -i "/<feature name='vme'\\/>/d" "$1"{_XEN_CPU_MAP}"""
"""Xen's capabilities under this emulation lack VME, and libvirtd then finds no model of the
processor and refuses to start its driver. A host with a true processor needs none of this."""

XEN = Disk(
    "xen",
    # qemu-system-xen serves the guests' disks and channels; Xen only recommends it. Without
    # AppArmor: Debian's profile of libvirtd forbids it to start that device model.
    (*_BASE, *_MAKE, "libvirt-daemon-driver-xen", "qemu-system-xen", "xen-system-amd64"),
    kernel="linux-image-amd64",  # the cloud kernel cannot be a dom0
    customize=(_XEN_HOOK, *_QUIET),
)  # fmt: skip
# `eager-fpu`: else Xen hands the registers of SSE over by a trap, when they are first used, and
# under this emulation programs of dom0 were seen with each other's once a guest ran.
_XEN_WORDS = (
    "console=com1 com1=115200,8n1 dom0_mem=2048M,max:2048M dom0_max_vcpus=2 noreboot=0 "
    "spec-ctrl=no,eager-fpu xpti=no watchdog=0 ucode=no"
)
_XEN_PROOFS = (
    "xl info",
    "xl dmesg | grep -i -E 'xen version|svm|hap|hvm'",
    "cat /sys/hypervisor/type /proc/xen/capabilities",
    f"grep -c vme {_XEN_CPU_MAP}; echo the lab takes the feature vme out of this file of libvirt",
)

PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "kvm", "Debian 12 with systemd and KVM's own module for AMD processors",
            MACHINE, 3072 * MIB, _KVM_PROOFS, flags=("svm", "npt"),
        ),
        Profile(
            "cgroup2", "Debian 12 with systemd as PID 1 and control groups v2 alone",
            MACHINE, 3072 * MIB, _CGROUP_PROOFS,
        ),
        Profile(
            "xen", "the Xen hypervisor with Debian 12 as its dom0",
            XEN, 4096 * MIB, _XEN_PROOFS, hypervisor=_XEN_WORDS, least_bytes=3072 * MIB,
        ),
        Profile(
            "fresh", "a pristine minimal Debian 12 with systemd, and an ordinary user with sudo",
            FRESH, 3072 * MIB, _FRESH_PROOFS,
        ),
        Profile("fresh13", "the same of Debian 13", FRESH_13, 3072 * MIB, _FRESH_PROOFS),
        Profile(
            "ubuntulike", "the same with what Ubuntu does otherwise and Debian's packages can show",
            LIKE_UBUNTU, 3072 * MIB, _LIKE_UBUNTU_PROOFS,
        ),
    )
}  # fmt: skip


def find_profile(name: str) -> Profile:
    """The profile of a name. Raises UsageError."""
    if name not in PROFILES:
        raise UsageError(f"the lab has no profile {name}", f"one of {', '.join(PROFILES)}")
    return PROFILES[name]


def kernel_words(console: str = "ttyS0") -> Sequence[str]:
    """The kernel's command line: quick under emulation, and its console on the serial port."""
    return (
        "root=/dev/vda", "rw", f"console={console}", "mitigations=off", "nokaslr", "tsc=reliable",
        "panic=-1", "systemd.show_status=no", "loglevel=5",
    )  # fmt: skip


def first_files() -> Mapping[str, tuple[str, int]]:
    """What lies there before the packages come, so that the initramfs is made once, and small."""
    return {
        "/etc/fstab": ("/dev/vda / ext4 defaults 0 1\n", 0o644),
        "/etc/initramfs-tools/conf.d/lab": ("MODULES=list\nCOMPRESS=gzip\n", 0o644),
        "/usr/share/initramfs-tools/modules.d/lab": (
            "virtio_pci\nvirtio_blk\ncrc32c_generic\next4\n", 0o644,
        ),
    }  # fmt: skip


def files(public_key: str, host_key: str) -> Mapping[str, tuple[str, int]]:
    """What is put into every disk once its packages are there: path, text and mode."""
    return {
        "/etc/hostname": ("lab\n", 0o644),
        "/etc/hosts": ("127.0.0.1 localhost lab\n", 0o644),
        "/etc/resolv.conf": ("nameserver 10.0.2.3\n", 0o644),
        # QEMU's user-mode network is the same on each host: there is nothing to ask for.
        "/etc/systemd/network/lab.network": (
            "[Match]\nName=en*\n\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
            0o644,
        ),
        "/etc/systemd/journald.conf.d/lab.conf": ("[Journal]\nStorage=volatile\n", 0o644),
        "/etc/udev/rules.d/90-tarebench-lab.rules": (
            f'SUBSYSTEM=="virtio-ports", ATTR{{name}}=="{PORT}", TAG+="systemd", '
            'ENV{SYSTEMD_WANTS}="tarebench-lab.service"\n',
            0o644,
        ),
        "/etc/systemd/system/tarebench-lab.service": (
            "[Unit]\nDescription=Say that the lab is up\nDefaultDependencies=no\n\n"
            "[Service]\nType=exec\nExecStart=/usr/local/sbin/lab-up\n",
            0o644,
        ),
        "/usr/local/sbin/lab-up": (_UP_SCRIPT, 0o755),
        "/etc/ssh/ssh_host_ed25519_key": (host_key, 0o600),
        "/etc/ssh/sshd_config.d/lab.conf": (
            "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\n"
            f"AuthorizedKeysFile {_KEYS}\nPasswordAuthentication no\nUsePAM no\nUseDNS no\n",
            0o644,
        ),
        _KEYS: (public_key, 0o644),  # sshd reads it with the rights of who comes in
    }
