"""Where a machine's boot goes: instrumented boots, never mixed with plain ones.

The guest kernel's first sign of life is a byte on a serial port, and a port that is written
to slows the boot. So these trials stand apart, with READY measured in them too: its excess
over `startup.ready` is what the instrument costs.
"""

from __future__ import annotations

from harness.clock import Marks
from harness.errors import LaunchFailed
from harness.experiments.bench import Bench, Measurement
from harness.model import Instruments, Mark, Sample
from harness.settings import Phases


def measure(bench: Bench, settings: Phases) -> Measurement:
    """One instrumented boot. Raises LaunchFailed when the kernel gave no sign."""
    assert isinstance(bench.runtime, Instruments)
    marks = Marks()
    with bench.instance(marks, settings.ready_timeout_s, bench.runtime.instrumented()):
        pass
    frozen = marks.freeze()
    if Mark.KERNEL not in frozen:
        raise LaunchFailed("the guest's kernel gave no sign of life on its serial port")
    samples = tuple(
        Sample(metric=f"phases.{mark}", value=(frozen[mark] - frozen[Mark.REQUEST]) / 1e9, unit="s")
        for mark in (Mark.FIRMWARE, Mark.LOADER, Mark.KERNEL, Mark.INIT, Mark.READY)
        if mark in frozen
    )
    return Measurement(frozen, samples)
