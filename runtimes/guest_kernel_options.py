"""What a guest's kernel must be told about its host: the mitigations and the clock's rate.

Guests default to the host's mitigations (METHOD), so that a difference between a container
and a machine is not one of mitigations. And a guest under TCG reads the host's own
time-stamp counter, at a rate that it would have to calibrate against emulated timers.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runtimes.domain_xml import GuestClock

_VULNERABILITIES = Path("/sys/devices/system/cpu/vulnerabilities")
_CALIBRATION_S = 0.1
_READINGS = 50
_RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl rdx,32; or rax,rdx; ret"""


def host_mitigations(
    command_line: Path = Path("/proc/cmdline"), vulnerabilities: Path = _VULNERABILITIES
) -> str:
    """`off` where this host runs without mitigations, else `auto`.

    The host's command line may say so; where it says nothing, nor can be believed (a
    container's view of another kernel's), a host whose every applicable vulnerability stands
    open has none. `auto,nosmt` is `auto` for a guest, which has no SMT to switch off.
    """
    states = [file.read_text().strip() for file in vulnerabilities.glob("*")]
    return mitigations_by(command_line.read_text(), states)


def mitigations_by(command_line: str, states: Sequence[str]) -> str:
    """The same of a host that has told its command line, and the state of each vulnerability."""
    found = re.findall(r"(?:^|\s)mitigations=(\w+)", command_line)
    if found:
        return "off" if found[-1] == "off" else "auto"
    applicable = [state for state in states if state != "Not affected"]
    mitigated = [state for state in applicable if not state.startswith("Vulnerable")]
    return "off" if applicable and not mitigated else "auto"


def measure_clock() -> GuestClock | None:
    """The rate of the host's time-stamp counter over 0.1 s; None where it cannot be read.

    Only the counter's own reading serves: the processor's nominal or present frequency
    (/proc/cpuinfo) differs from its counter's rate on many machines.
    """
    if platform.machine() != "x86_64":
        return None
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # a hardened host gives no memory that is writable and executable
        return None
    code.write(_RDTSC)
    view = ctypes.c_char.from_buffer(code)
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(view))
    start_ns, start = _read_both(rdtsc)
    time.sleep(_CALIBRATION_S)
    end_ns, end = _read_both(rdtsc)
    del rdtsc, view
    code.close()
    khz = (end - start) * 1_000_000 // (end_ns - start_ns)
    return GuestClock(khz) if khz > 0 else None


def _read_both(rdtsc: Callable[[], int]) -> tuple[int, int]:
    """The clock and the counter at one instant: of several readings, the quickest."""
    readings = []
    for _ in range(_READINGS):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        counter = rdtsc()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        readings.append((after - before, (before + after) // 2, counter))
    _, instant, counter = min(readings)
    return instant, counter
