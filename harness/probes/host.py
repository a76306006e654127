"""What this host is: the facts that stand beside every number of a run.

A fact that cannot be read is absent, never empty or guessed. The kernel's command line is
kept to the parameters that change a measurement: the rest is nobody's business.
"""

from __future__ import annotations

import hmac
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeGuard

from harness import cpuid
from harness.probes.cgroups import Layout
from harness.probes.memory import parse_kib

Fact = str | int | float | bool

_TELLING = frozenset({
    "amd_pstate", "audit", "cgroup_disable", "cgroup_enable", "cgroup_no_v1", "clocksource",
    "default_hugepagesz", "hugepages", "hugepagesz", "idle", "intel_idle.max_cstate",
    "intel_iommu", "amd_iommu", "intel_pstate", "iommu", "isolcpus", "kvm-amd.nested",
    "kvm-intel.nested", "kvm.nx_huge_pages", "l1tf", "mds", "meltdown", "mitigations",
    "no_timer_check", "nohz", "nohz_full", "nokaslr", "nopti", "nosmt", "nospectre_v1",
    "nospectre_v2", "preempt", "processor.max_cstate", "psi", "pti", "rcu_nocbs", "retbleed",
    "spec_store_bypass_disable", "spectre_v2", "spectre_v2_user", "swapaccount",
    "systemd.unified_cgroup_hierarchy", "threadirqs", "transparent_hugepage", "tsc",
    "zswap.enabled",
})  # fmt: skip

_VENDORS = (
    ("kvm", "KVM"), ("amazon ec2", "Amazon EC2"), ("google", "Google Cloud"),
    ("microsoft corporation virtual", "Hyper-V"), ("vmware", "VMware"),
    ("virtualbox", "VirtualBox"),
    ("xen", "Xen"), ("parallels", "Parallels"), ("bhyve", "bhyve"), ("openstack", "OpenStack"),
    ("apple virtualization", "Apple"), ("digitalocean", "DigitalOcean"), ("hetzner", "Hetzner"),
)  # fmt: skip
EMULATED = "QEMU TCG"
"""A guest of QEMU that says so itself, or to which no KVM clock is offered: its processor is
software."""

_CLOCKS = {"kvm-clock": "KVM", "hyperv_clocksource_tsc_page": "Hyper-V", "xen": "Xen"}


def facts(cache: Path, results: Path) -> dict[str, Fact]:
    """Facts of this host; the two folders' filesystems are among them."""
    cpuinfo, meminfo = _read("/proc/cpuinfo") or "", parse_kib(_read("/proc/meminfo") or "")
    names = os.uname()
    mounts = _read("/proc/self/mountinfo") or ""
    found: dict[str, Fact | None] = {
        "os": parse_os_release(_read("/etc/os-release") or ""),
        "kernel": names.release,
        "kernel_version": names.version,
        "kernel_parameters": telling_parameters(_read("/proc/cmdline") or "") or None,
        "architecture": names.machine,
        "smt": _smt(_read("/sys/devices/system/cpu/smt/active")),
        "numa_nodes": len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None,
        "memory_bytes": meminfo.get("MemTotal"),
        "swap_bytes": meminfo.get("SwapTotal"),
        "virtualization": kind(),
        "container": _container(),
        "cgroup": Layout.detect().version,
        "cache_filesystem": filesystem_of(_existing(cache), mounts),
        "results_filesystem": filesystem_of(_existing(results), mounts),
        "python": platform.python_version(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "id": identity(_read("/etc/machine-id") or ""),
    }
    found |= parse_cpuinfo(cpuinfo) | {"emulated": is_emulated(found["virtualization"])}
    return {name: value for name, value in found.items() if value is not None}


def identity(machine_id: str) -> str | None:
    """What tells runs of one host from those of another, and tells nothing else of it.

    machine-id(5) asks that the identifier itself is not given away: this is its keyed hash.
    """
    if not machine_id:
        return None
    return hmac.new(machine_id.encode(), b"tarebench", "sha256").hexdigest()[:16]


def parse_cpuinfo(text: str) -> dict[str, Fact]:
    """The processor's model, vendor, threads, cores, sockets and whether it is virtual."""
    blocks = [_colon_lines(block) for block in text.strip().split("\n\n") if block.strip()]
    blocks = [block for block in blocks if "processor" in block]
    if not blocks:
        return {}
    first = blocks[0]
    cores = {(block.get("physical id"), block.get("core id")) for block in blocks}
    sockets = {block.get("physical id") for block in blocks}
    found: dict[str, Fact] = {"threads": len(blocks)}
    if "core id" in first:
        found |= {"cores": len(cores), "sockets": len(sockets)}
    if model := first.get("model name"):
        found["cpu_model"] = " ".join(model.split())
    if vendor := first.get("vendor_id"):
        found["cpu_vendor"] = vendor
    if "flags" in first:
        found["hypervisor"] = "hypervisor" in first["flags"].split()
    return found


def _colon_lines(block: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_os_release(text: str) -> str | None:
    """PRETTY_NAME of /etc/os-release."""
    for line in text.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip().strip("\"'") or None
    return None


def telling_parameters(cmdline: str) -> str:
    """Those kernel parameters that change a measurement, in their order.

    What follows `--` is for init, and is left out.
    """
    kept = []
    for word in cmdline.split():
        if word == "--":
            break
        if word.partition("=")[0] in _TELLING:
            kept.append(word)
    return " ".join(kept)


def virtualization(
    cpuinfo: str, dmi: str, clocks: Iterable[str], hypervisor: str | None,
    vendor: str | None = None,
) -> str | None:  # fmt: skip
    """Which hypervisor this host runs under, as far as it can be told; `none` on bare metal.

    The CPU's `hypervisor` flag decides whether there is one. Emulation tells of itself by the
    processor's own word (`vendor`, see harness/cpuid.py), also under a hypervisor that
    runs in it; every other name is a guess from the firmware's words and the clock sources.
    None where not even the flag is known.
    """
    flagged = parse_cpuinfo(cpuinfo).get("hypervisor")
    if hypervisor and (name := hypervisor.strip().capitalize()):
        return f"{name} on {EMULATED}" if vendor == cpuid.TCG else name
    if flagged and vendor == cpuid.TCG:
        return EMULATED
    if not flagged:
        return None if flagged is None else "none"
    words, known = dmi.lower(), list(clocks)
    if "qemu" in words:
        return "KVM" if "kvm-clock" in known else EMULATED
    for needle, name in _VENDORS:
        if needle in words:
            return name
    for clock in known:
        if clock in _CLOCKS:
            return _CLOCKS[clock]
    return "unknown hypervisor"


def is_virtual() -> bool | None:
    """Whether this host is itself a virtual machine; None where the processor does not tell."""
    found = kind()
    return None if found is None else found != "none"


def is_emulated(found: object) -> TypeGuard[str]:
    """Whether what `virtualization` returned means that the processor is software."""
    return isinstance(found, str) and found.endswith(EMULATED)


def kind() -> str | None:
    """What `virtualization` says of this host."""
    return virtualization(
        _read("/proc/cpuinfo") or "", _dmi(), _clocks(), _read("/sys/hypervisor/type"),
        cpuid.hypervisor_vendor(),
    )  # fmt: skip


class MountPoint(NamedTuple):
    """One line of /proc/PID/mountinfo: where, of which type, of what."""

    target: str
    kind: str
    source: str


def mount_of(folder: Path, mountinfo: str) -> MountPoint | None:
    """The mount under an absolute path, from the text of a mountinfo."""
    best = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        target = left.split()[4].replace("\\040", " ")
        covers = best is None or len(target) >= len(best.target)  # a later mount covers
        if covers and folder.is_relative_to(target):
            best = MountPoint(target, *right.split()[:2])
    return best


def filesystem_of(folder: Path, mountinfo: str) -> str | None:
    """The filesystem's type under an absolute folder, from /proc/self/mountinfo."""
    found = mount_of(folder, mountinfo)
    return None if found is None else found.kind


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder.resolve()


def _smt(text: str | None) -> bool | None:
    return None if text is None else text == "1"


def _dmi() -> str:
    folder = Path("/sys/class/dmi/id")
    names = ("sys_vendor", "product_name", "product_version", "bios_vendor", "board_vendor")
    return " ".join(_read(folder / name) or "" for name in names)


def _clocks() -> list[str]:
    place = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
    return (_read(place) or "").split()


def _container() -> str | None:
    """The kind of container that the harness itself runs in, where one says so."""
    if said := _read("/run/systemd/container"):
        return said
    if Path("/.dockerenv").exists():
        return "docker"
    return "podman" if Path("/run/.containerenv").exists() else None


def _read(path: str | Path) -> str | None:
    """A small file's text; None when it is not there, not ours to read, or empty."""
    try:
        return Path(path).read_text(errors="replace").strip() or None
    except OSError:
        return None


def own_peak_rss_bytes() -> int:
    """The most memory that this process has held resident so far.

    Not from getrusage: that figure is inherited over exec from whoever started us.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
