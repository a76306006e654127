"""Whether guests really boot under KVM on this host: decided once, by booting one.

/dev/kvm can open, and even create processors, where a guest never gets beyond its firmware
(KVM inside a machine without nested virtualization). Only a boot within a deadline decides.
It costs that deadline where KVM does not work, so the verdict is kept: for this boot of the
host, this kernel, this QEMU, this kind of machine.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from harness.cpuid import patience
from harness.errors import RuntimeUnavailable
from harness.model import Frozen

_DEADLINE_S = 20.0
CPUS: tuple[tuple[str, ...], ...] = ((), ("arch-capabilities",))
"""The host's CPU as it is; and without a register that some nested KVMs refuse to set, at
which QEMU dies before the guest starts."""
DEVICE = Path("/dev/kvm")
_HINT = (
    "enable virtualization in the firmware, or nested virtualization in the host of this "
    "machine; the runtime qemu emulates without it"
)


class Verdict(Frozen, frozen=True):
    """What a boot under KVM came to; `reason` is empty where it worked.

    `cpu_without` are the features that a guest's CPU must not have here for QEMU to start.
    """

    usable: bool
    reason: str
    conditions: dict[str, str]
    cpu_without: tuple[str, ...] = ()


def conditions(emulator: Path, machine: str, uri: str) -> dict[str, str]:
    """What a verdict holds for; read in less than a millisecond."""
    status = emulator.stat()
    return {
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "kernel": os.uname().release,
        "emulator": f"{emulator} {status.st_size} {status.st_mtime_ns}",
        "machine": machine,
        "uri": uri,
        "uid": str(os.geteuid()),
    }


def deadline_s() -> float:
    """Until when a guest must have booted here."""
    return _DEADLINE_S * patience()


def check_device() -> None:
    """Raise RuntimeUnavailable at once where there is no KVM to try."""
    if not DEVICE.exists():
        raise RuntimeUnavailable(f"there is no {DEVICE}", f"modprobe kvm_intel or kvm_amd; {_HINT}")
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise RuntimeUnavailable(
            f"{DEVICE} cannot be opened: {error.strerror}", "adduser $USER kvm, or use sudo"
        ) from error


def recall(cache: Path, key: dict[str, str]) -> Verdict | None:
    """The verdict that holds for these conditions, or None."""
    try:
        found = msgspec.json.decode(_file(cache, key).read_bytes(), type=Verdict)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.conditions == key else None


def remember(cache: Path, verdict: Verdict) -> None:
    """Keep a verdict; an older one of other conditions stays, it no longer matches."""
    file = _file(cache, verdict.conditions)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_bytes(msgspec.json.encode(verdict))
    partial.rename(file)


def require(verdict: Verdict) -> None:
    """Raise RuntimeUnavailable where guests do not boot."""
    if not verdict.usable:
        raise RuntimeUnavailable(verdict.reason, _HINT)


def _file(cache: Path, key: dict[str, str]) -> Path:
    digest = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
    return cache / f"kvm-{digest[:16]}.json"
