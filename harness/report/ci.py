"""A comparison for programs and for the pages of a CI service: JSON, JUnit XML and Markdown.

What a run holds is text from elsewhere; each form escapes it in its own way. In the JUnit file a
failure is an expression that holds, and nothing else is: the file and the exit code say the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from harness.analysis.compare import Beside, Comparison
from harness.analysis.gates import Finding, Gate, Outcome
from harness.analysis.units import MISSING, plural
from harness.analysis.unlike import Unlike
from harness.analysis.verdicts import Verdict
from harness.report import comparison as words
from harness.report.markdown import escape

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(found: Sequence[Beside], gates: Sequence[Gate]) -> Mapping[str, Any]:
    """The JSON of `tarebench compare --json`, in base units."""
    return {
        "comparisons": [_comparison(c) for each in found for c in each.comparisons],
        "expressions": [_expression(gate) for gate in gates],
        "runs": [
            {
                "base": each.base.run, "new": each.new.run, "same_run": each.is_same_run,
                "conditions": [_condition(one) for one in each.unlike],
                "left_out": [
                    {"reason": left.reason, "series": left.count} for left in each.left_out
                ],
                "notes": [f"{run.run}: {note}" for run in (each.base, each.new)
                          for note in run.notes],
            }
            for each in found
        ],
    }  # fmt: skip


def _comparison(c: Comparison) -> Mapping[str, Any]:
    ratio = c.judgement.ratio
    interval = ratio.interval if ratio else None
    return {
        "metric": c.metric, "runtime": c.runtime, "base": c.base, "new": c.new,
        "ratio": ratio.value if ratio else None,
        "low": interval.low if interval else None, "high": interval.high if interval else None,
        "p": c.judgement.p, "verdict": c.verdict.value, "guards": list(c.guards),
        "why": c.judgement.why, "dimensions": dict(c.dimensions), "unit": c.unit,
        "better": c.better or None, "margin": c.margin, "margin_declared": c.margin_declared,
        "blocks": list(c.blocks), "base_run": c.base_run, "new_run": c.new_run,
    }  # fmt: skip


def _condition(one: Unlike) -> Mapping[str, Any]:
    return {
        "name": one.name, "effect": "refuses" if one.refuses else "qualifies", "base": one.base,
        "new": one.new, "text": one.text, "runtime": one.runtime or None,
        "metrics": list(one.metrics),
    }  # fmt: skip


def _expression(gate: Gate) -> Mapping[str, Any]:
    return {
        "expression": gate.expression.text,
        "outcome": gate.outcome.value,
        "text": words.gate_text(gate),
        "series": [_series(each) for each in gate.findings],
    }


def _series(found: Finding) -> Mapping[str, Any]:
    c, ratio = found.comparison, found.ratio
    interval = ratio.interval if ratio else None
    return {
        "metric": c.metric if c else None, "runtime": c.runtime if c else None,
        "dimensions": dict(c.dimensions) if c else None, "new_run": c.new_run if c else None,
        "outcome": found.outcome.value, "ratio": ratio.value if ratio else None,
        "low": interval.low if interval else None, "high": interval.high if interval else None,
        "confidence": interval.confidence if interval else None, "why": found.why,
    }  # fmt: skip


def junit(found: Sequence[Beside], gates: Sequence[Gate]) -> bytes:
    """JUnit XML: a suite of the expressions, and one of the comparisons with each new run."""
    root = ElementTree.Element("testsuites", name="tarebench compare")
    if gates:
        suite = _suite(root, "--fail-if")
        for gate in gates:
            case = _case(suite, "fail-if", gate.expression.text)
            if gate.outcome is Outcome.HOLDS:
                _say(case, "failure", words.gate_text(gate))
            elif gate.outcome is Outcome.UNDECIDED:
                _say(case, "skipped", words.gate_text(gate))
            else:
                _text(case, "system-out", words.gate_text(gate))
    for each in found:
        suite = _suite(root, f"{each.base.run} → {each.new.run}", each)
        for c in each.comparisons:
            case = _case(suite, c.metric, words.series(c))
            if c.verdict is Verdict.NO_CONCLUSION:
                _say(case, "skipped", f"no conclusion: {c.judgement.why}")
            _text(case, "system-out", _line(c))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(_count(suite, key) for suite in root)))
    for suite in root:
        for key in ("tests", "failures", "errors", "skipped"):
            suite.set(key, str(_count(suite, key)))
        suite.set("time", "0")
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _count(suite: ElementTree.Element, key: str) -> int:
    part = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error",
            "skipped": "testcase/skipped"}[key]  # fmt: skip
    return len(suite.findall(part))


def _suite(root: ElementTree.Element, name: str, each: Beside | None = None) -> ElementTree.Element:
    suite = ElementTree.SubElement(root, "testsuite", name=_xml(name))
    conditions = words.conditions(each) if each else ()
    if conditions:
        properties = ElementTree.SubElement(suite, "properties")
        for one, _ in conditions:
            ElementTree.SubElement(
                properties, "property", name=_xml(f"unlike.{one.name}"),
                value=_xml(f"{one.base} → {one.new}"),
            )  # fmt: skip
    return suite


def _case(suite: ElementTree.Element, of: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=_xml(f"tarebench.{of}"), name=_xml(name), time="0"
    )


def _say(case: ElementTree.Element, kind: str, message: str) -> None:
    ElementTree.SubElement(case, kind, message=_xml(message), type="tarebench")


def _text(case: ElementTree.Element, kind: str, text: str) -> None:
    ElementTree.SubElement(case, kind).text = _xml(text)


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold; the rest ElementTree escapes."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _line(c: Comparison) -> str:
    """One comparison on one line."""
    ratio = c.judgement.ratio
    apart = f"{words.change(ratio.value)} ({words.change_range(ratio)})" if ratio else MISSING
    guards = f"; guards: {', '.join(c.guards)}" if c.guards else ""
    return (
        f"{words.amount(c.base, c.unit)} → {words.amount(c.new, c.unit)}, {apart}: "
        f"{words.WORDS[c.verdict]}{guards}"
    )


def markdown(found: Sequence[Beside], gates: Sequence[Gate]) -> str:
    """A page for a step's summary or a pull request."""
    signs = {Outcome.HOLDS: "❌", Outcome.DOES_NOT_HOLD: "✅", Outcome.UNDECIDED: "❔"}
    parts = ["## tarebench compare\n"]
    parts += [
        f"- {signs[gate.outcome]} {_code(gate.expression.text)} {_plain(words.gate_text(gate))}"
        for gate in gates
    ]
    for each in found:
        chosen = words.shown(each.comparisons, every=False)
        title = f"{_plain(each.base.run)} → {_plain(each.new.run)}"
        parts += [f"\n### {title}\n", f"{_plain(words.counted(each.comparisons))}.\n"]
        parts += [_rows(metric, rows) for metric, rows in words.by_metric(chosen).items()]
        hidden = len(each.comparisons) - len(chosen)
        parts += [f"{plural(hidden, 'more comparison')} without a difference.\n"] if hidden else []
        parts += _conditions(each)
    return "\n".join([*parts, "", words.BETWEEN_RUNS, ""])


def _rows(metric: str, rows: Sequence[Comparison]) -> str:
    lines = [
        f"**{_plain(metric)}**\n",
        "| runtime | base | new | change | 95 % interval | verdict | guards |",
        "|---|--:|--:|--:|--:|---|---|",
    ]
    for c in rows:
        ratio = c.judgement.ratio
        verdict = words.WORDS[c.verdict]
        cells = (
            words.series(c), words.amount(c.base, c.unit), words.amount(c.new, c.unit),
            words.change(ratio.value) if ratio else MISSING, words.change_range(ratio),
            f"{verdict}: {c.judgement.why}" if c.judgement.why else verdict, ", ".join(c.guards),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(_plain, cells))} |")
    return "\n".join([*lines, ""])


def _conditions(each: Beside) -> Sequence[str]:
    found = words.conditions(each)
    lines = [
        f"- {'✗' if one.refuses else '!'} {_plain(words.condition(one, scope))}"
        for one, scope in found
    ]
    lines += [f"- left out: {left.count} series, {_plain(left.reason)}" for left in each.left_out]
    return ["Conditions that differ (✗ takes verdicts away, ! stands beside them):\n", *lines]


def _plain(text: str) -> str:
    return escape(words.visible(text))


def _code(text: str) -> str:
    """Code on one line; a run of backticks in it cannot end it."""
    plain = words.visible(text)
    ticks = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (ticks + 1)
    return f"{fence} {plain} {fence}" if ticks else f"`{plain}`"
