"""What `tarebench selftest` found, for people and for scripts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.analysis.selftest import INJECTED, PROMISE, Report, SelfTest, fewest_reports
from harness.analysis.statistics import Interval
from harness.analysis.summary import READY
from harness.analysis.verdicts import Verdict


def text(told: SelfTest, runtime: str, width: int) -> str:
    """A table of verdicts by metric, and the two rates in sentences."""
    heads = ("better", "worse", "equivalent", "no conclusion")
    rows = [f"{'metric':<20}" + "".join(f"{head:>15}" for head in heads)]
    for metric, counts in told.verdicts.items():
        cells = [counts.get(verdict, 0) for verdict in Verdict]
        rows.append(f"{metric:<20}" + "".join(f"{cell:>15}" for cell in cells))
    return "\n\n".join(
        ["\n".join(rows), *(textwrap.fill(each, width) for each in _sentences(told, runtime))]
    )


def _sentences(told: SelfTest, runtime: str) -> Sequence[str]:
    return (
        f"{runtime} beside itself, {told.reports} reports of {told.blocks} blocks: "
        f"{told.false_reports} with a false verdict, {_share(told.false_reports, told.reports)} "
        f"of reports (95 %: {_span(told.rate)}). {_promise(told)}",
        f"With {READY} of the second name made {INJECTED:g} times as long, "
        f"{told.found} of {told.reports} reports call it worse: "
        f"{_share(told.found, told.reports)} (95 %: {_span(told.power)}), at a variation of "
        f"{told.variation:.1%} from trial to trial.",
    )


def _promise(told: SelfTest) -> str:
    if told.holds:
        return f"The promise of at most {PROMISE:.0%} is kept."
    if told.false_reports == 0:
        return (
            f"That is too few reports to show that at most {PROMISE:.0%} are false: "
            f"{fewest_reports()} without a false one would."
        )
    return f"That does not show that at most {PROMISE:.0%} are false."


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}"


def _span(interval: Interval) -> str:
    return f"{interval.low:.1%} to {interval.high:.1%}"


def document(told: SelfTest, found: Sequence[Report], runtime: str, folder: Path) -> dict[str, Any]:
    """The same as JSON; shares are of one."""
    return {
        "runtime": runtime,
        "run": str(folder),
        "reports": told.reports,
        "blocks": told.blocks,
        "false_reports": told.false_reports,
        "rate": told.false_reports / told.reports,
        "low": told.rate.low,
        "high": told.rate.high,
        "promise": PROMISE,
        "holds": told.holds,
        "verdicts": {
            metric: {str(verdict): counts.get(verdict, 0) for verdict in Verdict}
            for metric, counts in told.verdicts.items()
        },
        "false": [
            {"names": report.names, "first_block": report.first_block, "metric": each.metric,
             "verdict": str(each.judgement.verdict), "p": each.judgement.p}
            for report in found for each in report.judged
            if each.judgement.verdict.is_difference
        ],
        "injected": {
            "metric": READY, "ratio": INJECTED, "found": told.found,
            "rate": told.found / told.reports, "low": told.power.low, "high": told.power.high,
            "variation": told.variation,
        },
    }  # fmt: skip
