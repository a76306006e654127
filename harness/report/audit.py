"""The fairness audit: what was proven identical, what differed, and what stood in the way."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.analysis import conditions, statistics
from harness.analysis.frames import NOT_RUN, RunData
from harness.analysis.language import later, recorded, say, strung
from harness.analysis.summary import Summary
from harness.analysis.units import MIB, MISSING, digits, percent, plural, quantity, span, times
from harness.model import Outcome
from harness.report.sheet import Conditions
from harness.report.tables import Table, label

SEVERITY_WORDS: Mapping[str, str] = {
    "block": later("blocks verdicts"),
    "warn": later("warns"),
    "info": later("noted"),
}


MOST_FAILURES = 500
"""Failed trials that are listed one by one; the reasons of all are counted elsewhere."""


@dataclass(frozen=True)
class Control:
    """A control of the run: what it is, what it found, and whether that is a warning."""

    name: str
    text: str
    warns: bool


def identity(run: RunData, summary: Summary) -> Table:
    """What each runtime proved about the files that it executed."""
    rows = []
    good = run.kinds("outcome").among(Outcome.OK.value)
    told = run.told("identity", "identical")
    for row in summary.rows:
        proven = _facts(run, row.runtime).get("verified", {})
        own = good & run.kinds("runtime").among(row.runtime)
        checked = told[own[told.index]]
        same, other = int((checked == True).sum()), int((checked == False).sum())  # noqa: E712
        rows.append(
            (
                label(row),
                _identical(proven.get("identical")),
                _short(str(proven.get("digest") or "")),
                say(
                    "{same} identical, {other} not, {rest} not checked",
                    same=same,
                    other=other,
                    rest=int(own.sum()) - same - other,
                ),
                str(proven.get("note") or ""),
            )
        )
    return Table(
        "What was proven identical",
        ("Runtime", "Whole image, from inside", "Digest", "Files executed, by trial", "Note"),
        tuple(rows),
    )


def _identical(proven: bool | None) -> str:
    if proven is None:
        return MISSING
    return say("identical") if proven else say("NOT identical")


def differences(run: RunData, summary: Summary) -> Table:
    """What was not the same, and cannot be in some cases."""
    rows = []
    for row in summary.rows:
        facts = _facts(run, row.runtime)
        without = [k for k, v in facts.get("limits", {}).items() if v != "supported"]
        rows.append(
            (
                label(row),
                row.accel or MISSING,
                ", ".join(without) or say("all enforced"),
                str(facts.get("equality", MISSING)),
                "; ".join(str(note) for note in facts.get("notes", [])) or MISSING,
                "; ".join(f"{k} {v}" for k, v in facts.get("versions", {}).items()) or MISSING,
            )
        )
    return Table(
        "What differed",
        ("Runtime", "Accelerator", "Limits not enforced", "Equality", "Notes", "Versions"),
        tuple(rows),
    )


def guards(run: RunData) -> Table:
    """Conditions that can make a comparison unfair, the gravest first."""
    order = list(SEVERITY_WORDS)
    found = sorted(
        conditions.guards(run),
        key=lambda g: order.index(g.severity) if g.severity in order else len(order),
    )
    rows = tuple(
        (g.name, say(SEVERITY_WORDS.get(g.severity, g.severity)), g.value, recorded(g.text))
        for g in found
    )
    return Table("Guards", ("Guard", "Severity", "Value", "What it means"), rows)


def weather(run: RunData) -> Table:
    """What the host was like around the trials of each runtime."""
    found = conditions.weather(run)
    rows = tuple(
        (
            w.runtime, str(w.trials), _number(w.load_before), _number(w.running_before),
            _share(w.steal), _share(w.waited_cpu), _share(w.waited_memory), _share(w.waited_io),
            str(w.swapped_pages), str(w.throttled),
        )
        for w in found
    )  # fmt: skip
    headings = (
        "Runtime", "Trials", "Load before", "Tasks before", "Steal", "Waited for CPU",
        "for memory", "for a disk", "Pages swapped", "Throttled",
    )  # fmt: skip
    return Table("What the host was like around the measured trials", headings, rows)


def _number(value: float | None) -> str:
    return MISSING if value is None else digits(value, 2)


def _share(value: float | None) -> str:
    return MISSING if value is None else percent(value)


def skipped(run: RunData) -> Table:
    """Runtimes that did not take part."""
    rows = tuple(
        (name, str(facts.get("reason", "")), str(facts.get("remedy", "")))
        for name, facts in run.manifest.get("skipped", {}).items()
    )
    return Table("Runtimes that did not take part", ("Runtime", "Reason", "Remedy"), rows)


def failures(run: RunData) -> Table:
    """Each trial that did not succeed, with its reason."""
    failed = ~run.kinds("outcome").among(Outcome.OK.value) & ~run.kinds("reason").among(NOT_RUN)
    places = np.flatnonzero(failed)
    bad = run.trials_at(places[:MOST_FAILURES], told=())
    rows = tuple(
        (
            str(t["trial"]),
            str(t["runtime"]),
            f"{t['experiment']}{say(', warm-up') if t['warmup'] else ''}",
            str(t["block"]),
            str(t["outcome"]),
            str(t["reason"]),
        )
        for t in bad.to_dict(orient="records")
    )
    headings = ("Trial", "Runtime", "Experiment", "Block", "Outcome", "Reason")
    caption = "Trials that did not succeed"
    if len(bad) < len(places):
        caption = say("Trials that did not succeed, the first of {count}", count=len(places))
    return Table(caption, headings, rows)


def controls(run: RunData, summary: Summary) -> tuple[Control, ...]:
    """The canary, the repeated first trial, and the harness's floor, in words."""
    found = (_canary(run), _repeat(run, summary), _floor(summary))
    return tuple(control for control in found if control is not None)


def host(run: RunData) -> Table:
    """All host facts as they were recorded."""
    facts = run.manifest.get("host", {})
    rows = tuple(
        (str(key).replace("_", " "), _host_value(str(key), value)) for key, value in facts.items()
    )
    return Table("The host", ("Fact", "Value"), rows)


def repeat_command(run: RunData) -> str:
    """The command that repeats the run: as it was given, with its seed made explicit."""
    given = [str(word) for word in run.manifest.get("command", [])] or [
        "tarebench", "run", str(run.manifest.get("scenario", {}).get("name", "")),
    ]  # fmt: skip
    words, skip = [], False
    for word in given:
        if skip or word == "--out" or word.startswith("--out="):
            skip = word == "--out"
            continue
        words.append(word)
    seed = run.manifest.get("seed")
    told = any(word.partition("=")[0] in ("--seed", "--box-seed") for word in words)
    return shlex.join(words if told or seed is None else [*words, "--seed", str(seed)])


def stopped_text(run: RunData) -> str:
    """Which rule ended the run, in words; empty for a run that does not say."""
    said = run.manifest.get("stopped") or {}
    by, blocks = said.get("by"), said.get("blocks")
    ends = {
        "until": later("every deciding median was known well enough"),
        "time budget": later("the time budget was used up"),
        "blocks": later("all planned blocks were done"),
        "nothing measured": later(
            "no trial had succeeded, and more of them would have told nothing"
        ),
        "interrupted": later("it was interrupted"),
    }
    if by not in ends:
        return ""
    if not isinstance(blocks, int):
        return say("The run ended: {why}.", why=say(ends[by]))
    measured = plural(blocks, "measured block")
    return say("The run ended after {blocks}: {why}.", blocks=measured, why=say(ends[by]))


def stopping(run: RunData) -> Table:
    """How well each deciding median was known at the end, where that was asked for."""
    said = run.manifest.get("stopped") or {}
    wanted = (run.manifest.get("rule") or {}).get("relative_width")
    rows = tuple(
        (
            str(known.get("runtime", "")),
            " ".join([str(known.get("metric", "")), *map(str, known["dimensions"].values())]),
            str(known.get("values", "")),
            _width(known.get("half_width")),
            say("yes") if known.get("enough") else say("no"),
        )
        for known in said.get("known", ())
        if wanted is not None
    )
    asked = say("±{share} or better", share=percent(wanted)) if wanted is not None else ""
    headings = ("Runtime", "Median of", "Trials", "Known to (99 %)", asked)
    return Table("How well the deciding medians were known at the end", headings, rows)


def _width(share: float | None) -> str:
    return say("no interval yet") if share is None else f"±{percent(share)}"


def limits_text(run: RunData) -> str:
    """The limits given to each instance, in words."""
    limits = run.manifest.get("scenario", {}).get("limits", {}) or {}
    parts = []
    if limits.get("cpus"):
        parts.append(plural(int(limits["cpus"]), "CPU") if float(limits["cpus"]).is_integer()
                     else say("{n} CPU", n=limits["cpus"]))  # fmt: skip
    if limits.get("memory_bytes"):
        size = f"{limits['memory_bytes'] / MIB:.0f} MiB"
        parts.append(say("{size} of memory", size=size))
    if limits.get("pids"):
        parts.append(say("{n} processes", n=limits["pids"]))
    return strung(parts) or say("no limits")


def conditions_of(run: RunData) -> Conditions:
    """Under which conditions a run was measured: what a chart that stands alone must carry."""
    host = run.manifest.get("host", {})
    machine = [str(host["cpu_model"])] if host.get("cpu_model") else []
    machine += [plural(int(host["threads"]), "CPU")] if host.get("threads") else []
    machine += [say("itself a virtual machine")] if host.get("hypervisor") is True else []
    kernel = [f"Linux {host['kernel']}"] if host.get("kernel") else []
    blocks = plural(len(np.unique(run.numbers("block")[run.kinds("warmup").among("no")])), "block")
    unknown, version = say("not recorded"), run.manifest.get("tarebench", MISSING)
    return Conditions(
        say(
            "n = {blocks}, one trial a runtime in each. Each instance: {limits}. Host: {host}. "
            "Run: {run}, tarebench {version}.",
            blocks=blocks, limits=limits_text(run), run=run.run, version=version,
            host=strung([*machine, *kernel]) or unknown,
        ),
        say(
            "n = {blocks}. Each instance: {limits}. Host: {host}.",
            blocks=blocks, limits=limits_text(run), host=strung(machine) or unknown,
        ),
    )  # fmt: skip


def _canary(run: RunData) -> Control | None:
    found = statistics.drift(run.values("canary.work"))
    if found is None:
        return None
    change = times(found.change)
    numbers = say(
        "Spearman's rho {rho}, p {p}; later half / earlier half {change}",
        rho=f"{found.rho:.2f}", p=f"{found.p:.2g}", change=change,
    )  # fmt: skip
    told = later("No drift was found in a fixed piece of work done once a block ({numbers}).")
    if found.moved:
        told = later(
            "The host drifted during the run: a fixed piece of work took a different time at the "
            "end ({numbers}). Blocks are still compared with themselves, but read totals with "
            "care."
        )
    return Control(say("Canary"), say(told, numbers=numbers), found.moved)


def _repeat(run: RunData, summary: Summary) -> Control | None:
    again = run.tally[run.tally["experiment"] == "repeat"]
    values = run.values("repeat.ready")
    if not len(again) or not len(values):
        return None
    runtime = str(again["runtime"].iloc[0])
    was = run.first("startup.ready", "startup", runtime)
    ready = {r.runtime: r.ready for r in summary.rows}.get(runtime)
    if was is None or ready is None or ready.interval is None:
        return None
    seen = run.values("startup.ready", runtime)
    last = float(values.iloc[-1])
    outside = not float(seen.min()) <= last <= float(seen.max())
    text = say(
        "The first measurement ({runtime}: {first}) was made again at the very end: {last}, "
        "{place} the range of the trials between.",
        runtime=runtime, first=quantity(was, "s"), last=quantity(last, "s"),
        place=say("outside") if outside else say("within"),
    )  # fmt: skip
    return Control(say("First and last"), text, outside)


def _floor(summary: Summary) -> Control | None:
    floor = summary.floor
    if floor is None:
        return None
    interval = say(" (95 %: {span})", span=span(floor.interval, "s")) if floor.interval else ""
    text = say(
        "fork, exec and READY of the same agent by the same path with no runtime at all take "
        "{time}{interval}. That much of every figure is the harness itself.",
        time=quantity(floor.value, "s"), interval=interval,
    )  # fmt: skip
    return Control(say("The harness's floor"), text, False)


def _facts(run: RunData, runtime: str) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = run.manifest.get("runtimes", {}).get(runtime, {})
    return facts


def _short(digest: str) -> str:
    kind, _, value = digest.rpartition(":")
    return f"{kind}:{value[:12]}…".lstrip(":") if len(value) > 20 else digest or MISSING


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    return MISSING if value is None else str(value)


def _host_value(key: str, value: object) -> str:
    if key.endswith("_bytes") and isinstance(value, (int, float)):
        return quantity(float(value), "bytes")
    if isinstance(value, dict):
        return "; ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return _plain(value)
