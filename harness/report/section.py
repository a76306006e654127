"""A section of the report: what one experiment has to show, as values.

The words of a section stand in the templates' prose, under the section's name, so that another
language is another file; here are its charts, its tables and what its data say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.language import say
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Estimate
from harness.analysis.units import span
from harness.report.charts import Chart
from harness.report.tables import Table


def intervals(found: Sequence[tuple[str, Estimate]], unit: str) -> str:
    """What stands behind an answer: a simultaneous interval each, where there is one."""
    ranges = [f"{name} {span(each.interval, unit)}" for name, each in found if each.interval]
    if not ranges:
        return say("Too few blocks for intervals.")
    return say("Intervals: {ranges} (95 %, all at once).", ranges=say("; ").join(ranges))


@dataclass(frozen=True)
class Exhibit:
    """A chart with its table, or either alone.

    `name` is unique in the report. Its heading and the prose macro of its name stand above it,
    where there are such. `folded` hides the table behind the chart until it is asked for.
    """

    name: str
    heading: str = ""
    chart: Chart | None = None
    table: Table | None = None
    folded: bool = True

    def __post_init__(self) -> None:
        """The heading is said in the language that is spoken."""
        object.__setattr__(self, "heading", say(self.heading))


@dataclass(frozen=True)
class Section:
    """One experiment's part: `name` is its anchor, and its prose macro.

    `title` is a question, `link` a word for the contents. `answers` go to the top of the
    report, `notes` are warnings that stand above the exhibits.
    """

    name: str
    title: str
    link: str
    exhibits: tuple[Exhibit, ...]
    notes: tuple[str, ...] = ()
    answers: tuple[Sentence, ...] = ()

    def __post_init__(self) -> None:
        """Title and link are said in the language that is spoken."""
        object.__setattr__(self, "title", say(self.title))
        object.__setattr__(self, "link", say(self.link))
