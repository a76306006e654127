"""The section on services says at the top when each box had answered, the quickest first."""

from __future__ import annotations

from harness import resources
from harness.analysis.frames import load_run
from harness.analysis.statistics import median
from harness.analysis.summary import summarise
from harness.analysis.units import quantity
from harness.report.sections import service


def test_the_answer_holds_every_box_but_emulated_ones_in_order() -> None:
    run = load_run(resources.reference_runs()["service"])
    section = service.make(run, summarise(run))
    assert section is not None
    (answer,) = section.answers
    medians = {
        name: found.value
        for name in ("bare", "chroot", "crun", "runc", "docker")
        if (found := median(run.values("startup.served", name))) is not None
    }
    places = [
        answer.headline.index(f"{name} {quantity(value, 's')}")
        for name, value in sorted(medians.items(), key=lambda pair: pair[1])
    ]
    assert places == sorted(places)
    assert "qemu" not in answer.headline
    assert all(f"{name} " in answer.detail for name in medians)


def test_nothing_is_said_where_no_service_was_asked() -> None:
    run = load_run(resources.reference_runs()["quick"])
    assert service.make(run, summarise(run)) is None
