"""The rungs of machines: the stages of instrumented boots, and what the instruments cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis import boots
from harness.analysis.boots import Boot
from harness.analysis.frames import RunData
from harness.analysis.language import later, say
from harness.analysis.statistics import Estimate
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import quantity, span_or_why
from harness.report.charts import Chart, render, subject
from harness.report.section import Exhibit
from harness.report.style import MARK_COLOUR, QUIET
from harness.report.tables import Table, label
from harness.report.waterfall import Fall, draw_waterfall, falls_numbers, signed

_WORDS: Mapping[str, str] = {
    "vmm": later("VMM process"),
    "firmware": later("VMM lets it run"),
    "loader": later("firmware"),
    "kernel": later("firmware, loading"),
    "init": later("kernel"),
    "ready": later("init until READY"),
}
"""What a stage is, by the mark that ends it, where a firmware gives signs."""

_SILENT: Mapping[str, str] = {
    "loader": later("until the boot loader"),
    "kernel": later("until the kernel"),
}
_FROM_DISK: Mapping[str, str] = {"kernel": later("boot loader, unpacking")}
_AXIS = later("from request to READY of instrumented boots, medians")


def exhibit(run: RunData, summary: Summary) -> Exhibit | None:
    """None without instrumented boots."""
    rows = {row.runtime: row for row in summary.rows}
    found = [(rows[boot.runtime], boot) for boot in boots.read(run)]
    if not found:
        return None
    return Exhibit(
        "ladder_machines", "And a machine?", chart=_chart(found), table=_table(found), folded=False
    )


def _words(boot: Boot) -> Mapping[str, str]:
    """What this boot's stages are: a firmware may be silent, a boot loader not there."""
    marks = {stage.mark for stage in boot.stages}
    silent = {} if "firmware" in marks else _SILENT
    return {**_WORDS, **silent, **(_FROM_DISK if "loader" in marks else {})}


def _chart(found: Sequence[tuple[RuntimeRow, Boot]]) -> Chart:
    falls: list[Fall] = []
    told = []
    for row, boot in found:
        words = _words(boot)
        falls += _falls(row, boot, len(falls))
        stages = (f"{say(words[s.mark])} {quantity(s.length.value, 's')}" for s in boot.stages)
        told.append(f"{label(row)}: {', '.join(stages)}")
    alt = say("The stages of machines' boots as waterfalls. {told}.", told="; ".join(told))
    return render(
        "ladder-machines", alt, lambda layout: draw_waterfall(falls, _AXIS, layout),
        falls_numbers(falls),
    )  # fmt: skip


def _falls(row: RuntimeRow, boot: Boot, head: int) -> Sequence[Fall]:
    """A bar of the whole boot in row `head`, and one a stage below it."""
    words = _words(boot)
    kind = say("emulated (TCG)") if row.emulated else subject(row).kind
    whole = Fall(
        boot.runtime, 0.0, boot.ready.value, None, subject(row).colour, note=kind,
        ground=row.emulated,
    )  # fmt: skip
    stages = [
        Fall(
            words[stage.mark], stage.start, stage.end, head + number if number else None,
            MARK_COLOUR.get(stage.mark, QUIET), added=stage.length, ground=row.emulated, ink=True,
        )
        for number, stage in enumerate(boot.stages)
    ]  # fmt: skip
    return [whole, *stages]


def _table(found: Sequence[tuple[RuntimeRow, Boot]]) -> Table:
    rows: list[tuple[str, ...]] = []
    for row, boot in found:
        words = _words(boot)
        rows += [
            (label(row), say(words[stage.mark]), quantity(stage.end, "s"), *_cells(stage.length))
            for stage in boot.stages
        ]
        if boot.plain and boot.inflation:
            _, interval = _cells(boot.inflation)
            added = say("instruments {added}", added=signed(boot.inflation.value))
            plain = quantity(boot.plain.value, "s")
            rows.append((label(row), say("READY of plain boots"), plain, added, interval))
    return Table(
        "Stages of instrumented boots, and READY of plain ones with what the instruments add",
        ("Machine", "Stage", "Until", "Takes", "95 %"),
        tuple(rows),
    )


def _cells(estimate: Estimate) -> tuple[str, str]:
    return quantity(estimate.value, "s"), span_or_why(estimate, "s")
