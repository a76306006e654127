"""What runs inside the lab: a ramp of guests under KVM, killed while one runs, that goes on.

`python -m tests.laboratory.inside`; it ends with an AssertionError where anything is not as it
must be.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from harness.journal import records
from tests.command import Place, read_lines
from tests.laboratory.conftest import check_complete

_GUEST_WITHIN_S = 600.0
_GUESTS = 4


def main() -> None:
    """Kill, clean, resume."""
    with tempfile.TemporaryDirectory() as folder:
        place, run = Place(Path(folder), time_limit_s=3600.0), Path(folder, "run")
        command = (
            "run", "density", "--repeat", "1", "--runtime", "kvm,machine=microvm",
            "--set", f"max_instances={_GUESTS}", "--set", "reserve=256 MiB",
        )  # fmt: skip
        with place.started(*command, "--out", run) as process:
            read_lines(process, until="block 0")
            guest = running_guest(process)
            process.kill()
            process.wait()
        assert guest.is_running(), "the guest ended with the harness: nothing was left to clean"
        assert place.tarebench("clean").status == 0
        assert not guest.is_running()
        assert place.tarebench("clean", "--dry-run").out == ""
        print("killed with a guest, and cleaned", flush=True)
        said = place.tarebench("resume", run)
        assert said.status == 0, said.err
        check_complete(run)
        ramp = next(each for each in records(run) if each.experiment == "density")
        assert ramp.accel == "kvm"
        assert {s.value for s in ramp.samples if s.metric == "density.instances"} == {_GUESTS}
        assert place.tarebench("clean", "--dry-run").out == ""


def running_guest(harness: subprocess.Popen[str]) -> psutil.Process:
    """The QEMU of a guest; no event tells that libvirt has started one."""
    end = time.monotonic() + _GUEST_WITHIN_S
    while time.monotonic() < end:
        for found in psutil.Process(harness.pid).children(recursive=True):
            try:
                words = " ".join(found.cmdline())
            except psutil.Error:
                continue
            if "qemu-system" in words and "guest=tb-" in words:
                return found
        time.sleep(0.05)
    raise AssertionError("no guest was started")


if __name__ == "__main__":
    main()
