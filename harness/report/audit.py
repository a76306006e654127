"""The fairness audit: what was proven identical, what differed, and what stood in the way."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.analysis import conditions, statistics
from harness.analysis.frames import RunData
from harness.analysis.summary import Summary
from harness.analysis.units import MIB, MISSING, digits, percent, plural, quantity, span, times
from harness.model import Outcome
from harness.report.tables import Table, label

SEVERITY_WORDS: Mapping[str, str] = {"block": "blocks verdicts", "warn": "warns", "info": "noted"}


@dataclass(frozen=True)
class Control:
    """A control of the run: what it is, what it found, and whether that is a warning."""

    name: str
    text: str
    warns: bool


def identity(run: RunData, summary: Summary) -> Table:
    """What each runtime proved about the files that it executed."""
    rows = []
    for row in summary.rows:
        proven = _facts(run, row.runtime).get("verified", {})
        trials = run.trials[
            (run.trials["runtime"] == row.runtime) & (run.trials["outcome"] == Outcome.OK.value)
        ]
        checked = [t.get("identical") for t in trials["identity"]]
        same, other = checked.count(True), checked.count(False)
        rows.append(
            (
                label(row),
                {True: "identical", False: "NOT identical"}.get(proven.get("identical"), MISSING),
                _short(str(proven.get("digest") or "")),
                f"{same} identical, {other} not, {checked.count(None)} not checked",
                str(proven.get("note") or ""),
            )
        )
    return Table(
        "What was proven identical",
        ("Runtime", "Whole image, from inside", "Digest", "Files executed, by trial", "Note"),
        tuple(rows),
    )


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
                ", ".join(without) or "all enforced",
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
    rows = tuple((g.name, SEVERITY_WORDS.get(g.severity, g.severity), g.value, g.text)
                 for g in found)  # fmt: skip
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
    bad = run.trials[
        (run.trials["outcome"] != Outcome.OK.value) & (run.trials["started_utc"] != "")
    ]
    rows = tuple(
        (
            str(t["trial"]),
            str(t["runtime"]),
            f"{t['experiment']}{', warm-up' if t['warmup'] else ''}",
            str(t["block"]),
            str(t["outcome"]),
            str(t["reason"]),
        )
        for t in bad.to_dict(orient="records")
    )
    headings = ("Trial", "Runtime", "Experiment", "Block", "Outcome", "Reason")
    return Table("Trials that did not succeed", headings, rows)


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
        "until": "every deciding median was known well enough",
        "time budget": "the time budget was used up",
        "blocks": "all planned blocks were done",
        "nothing measured": "no trial had succeeded, and more of them would have told nothing",
        "interrupted": "it was interrupted",
    }
    if by not in ends:
        return ""
    after = f" after {plural(int(blocks), 'measured block')}" if isinstance(blocks, int) else ""
    return f"The run ended{after}: {ends[by]}."


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
            "yes" if known.get("enough") else "no",
        )
        for known in said.get("known", ())
        if wanted is not None
    )
    asked = f"±{percent(wanted)} or better" if wanted is not None else ""
    headings = ("Runtime", "Median of", "Trials", "Known to (99 %)", asked)
    return Table("How well the deciding medians were known at the end", headings, rows)


def _width(share: float | None) -> str:
    return "no interval yet" if share is None else f"±{percent(share)}"


def limits_text(run: RunData) -> str:
    """The limits given to each instance, in words."""
    limits = run.manifest.get("scenario", {}).get("limits", {}) or {}
    parts = []
    if limits.get("cpus"):
        parts.append(plural(int(limits["cpus"]), "CPU") if float(limits["cpus"]).is_integer()
                     else f"{limits['cpus']} CPUs")  # fmt: skip
    if limits.get("memory_bytes"):
        parts.append(f"{limits['memory_bytes'] / MIB:.0f} MiB of memory")
    if limits.get("pids"):
        parts.append(f"{limits['pids']} processes")
    return ", ".join(parts) or "no limits"


def _canary(run: RunData) -> Control | None:
    found = statistics.drift(run.values("canary.work"))
    if found is None:
        return None
    change = times(found.change)
    numbers = f"Spearman's rho {found.rho:.2f}, p {found.p:.2g}; later half / earlier half {change}"
    text = (
        f"The host drifted during the run: a fixed piece of work took a different time at the "
        f"end ({numbers}). Blocks are still compared with themselves, but read totals with care."
        if found.moved
        else f"No drift was found in a fixed piece of work done once a block ({numbers})."
    )
    return Control("Canary", text, found.moved)


def _repeat(run: RunData, summary: Summary) -> Control | None:
    again = run.trials[run.trials["experiment"] == "repeat"]
    values = run.values("repeat.ready")
    if not len(again) or not len(values):
        return None
    runtime = str(again["runtime"].iloc[0])
    trials = run.trials[(run.trials["runtime"] == runtime) & ~run.trials["warmup"]]
    first = trials[trials["experiment"] == "startup"]["trial"].head(1)
    rows = run.samples[run.samples["trial"].isin(first)]
    was = rows.loc[rows["metric"] == "startup.ready", "value"]
    ready = {r.runtime: r.ready for r in summary.rows}.get(runtime)
    if not len(was) or ready is None or ready.interval is None:
        return None
    seen = run.values("startup.ready", runtime)
    last = float(values.iloc[-1])
    outside = not float(seen.min()) <= last <= float(seen.max())
    place = "outside" if outside else "within"
    text = (
        f"The first measurement ({runtime}: {quantity(float(was.iloc[0]), 's')}) was made again "
        f"at the very end: {quantity(last, 's')}, {place} the range of the trials between."
    )
    return Control("First and last", text, outside)


def _floor(summary: Summary) -> Control | None:
    floor = summary.floor
    if floor is None:
        return None
    interval = f" (95 %: {span(floor.interval, 's')})" if floor.interval else ""
    text = (
        f"fork, exec and READY of the same agent by the same path with no runtime at all take "
        f"{quantity(floor.value, 's')}{interval}. That much of every figure is the harness itself."
    )
    return Control("The harness's floor", text, False)


def _facts(run: RunData, runtime: str) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = run.manifest.get("runtimes", {}).get(runtime, {})
    return facts


def _short(digest: str) -> str:
    kind, _, value = digest.rpartition(":")
    return f"{kind}:{value[:16]}…".lstrip(":") if len(value) > 20 else digest or MISSING


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value is None else str(value)


def _host_value(key: str, value: object) -> str:
    if key.endswith("_bytes") and isinstance(value, (int, float)):
        return quantity(float(value), "bytes")
    if isinstance(value, dict):
        return "; ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return _plain(value)
