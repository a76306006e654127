"""What runs in the thin machine of the lab: one guest through libvirt, under KVM.

`python -m tests.one_guest`; its last line is JSON: what was asked of the guest and of its host.
"""

from __future__ import annotations

import json

from harness.cpuid import hypervisor_vendor
from harness.model import MIB, Job, Limits
from runtimes.guest_box import GuestBox
from tests.lab import open_lab

NAME = "kvm,machine=microvm"
SAYS = "out of the guest"


def main() -> None:
    """Boot it, ask its QEMU what it runs under, run a program of the image, end it."""
    with open_lab() as lab, lab.instance(NAME, Limits(cpus=1, memory_bytes=128 * MIB)) as box:
        assert isinstance(box, GuestBox)
        done = box.run(Job(["/usr/bin/echo", SAYS]))
        told = {
            "accel": box.accel,
            "kernel": box.facts()["kernel"],
            "said": done.stdout.read().decode().strip(),
            "host": hypervisor_vendor(),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
