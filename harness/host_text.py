"""What the doctor and `list runtimes` have to say, as text for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.model import RuntimeClass
from harness.registry import CLASS, CLASSES
from harness.terminal import bytes_text, hanging

if TYPE_CHECKING:
    from harness.doctor import Diagnosis, RuntimeState

_SIGNS = {"ready": "✓", "unavailable": "✗", "unprobed": "?"}


def runtimes_text(
    states: Sequence[RuntimeState], width: int, tell: Callable[[RuntimeState], Iterable[str]]
) -> str:
    """Runtimes by class; of each whether it is ready, or why not and the remedy, and the rest."""
    column = max((len(state.name) for state in states), default=0)
    kinds = [str(kind) for kind in RuntimeClass]
    words = {str(kind): f"  {CLASS}{word}" for word, kind in CLASSES.items()}
    lines: list[str] = []
    for kind in dict.fromkeys([*kinds, *(state.kind for state in states)]):
        of_kind = [state for state in states if state.kind == kind]
        if of_kind:
            lines += ["", f"{kind.capitalize()}{words.get(kind, '')}"]
        for state in of_kind:
            lead = f"  {_SIGNS[state.status]} {state.name.ljust(column)}  "
            texts = [text for text in (state.reason, *_remedy(state), *tell(state)) if text]
            for text in texts or ["ready"]:
                lines.append(hanging(lead, text, width))
                lead = " " * len(lead)
    count = {status: sum(state.status == status for state in states) for status in _SIGNS}
    total = ", ".join(f"{number} {status}" for status, number in count.items() if number)
    return "\n".join([f"Runtimes: {total or 'none'}", *lines])


def _remedy(state: RuntimeState) -> Iterator[str]:
    if state.remedy:
        yield f"→ {state.remedy}"


def offered(state: RuntimeState) -> Iterator[str]:
    """Versions, and the parameters that its name may have."""
    yield _versions(state)
    yield ", ".join(
        f"{key}={'|'.join(p['choices']) or p['default'] or '…'}"
        for key, p in state.parameters.items()
    )


def _found(state: RuntimeState) -> Iterator[str]:
    """Versions, and what the probe noted."""
    yield _versions(state)
    yield from state.notes


def _versions(state: RuntimeState) -> str:
    return ", ".join(f"{name} {text}" for name, text in state.versions.items()) or state.accel


def diagnosis_text(found: Diagnosis, width: int) -> str:
    """The doctor's findings for people."""
    lines = [runtimes_text(found.runtimes, width, _found)]
    lines += _rights_lines(found, width)
    lines += ["", "Guards: conditions that travel with every number"]
    for guard in found.guards:
        mark = {"info": "·", "warn": "!", "block": "✗"}[guard.severity]
        lines.append(hanging(f"  {mark} ", f"{guard.name}: {guard.value}", width))
        lines.append(hanging(" " * 6, guard.text, width))
        if guard.remedy:
            lines.append(hanging(" " * 6, f"→ {guard.remedy}", width))
    lines += _noise_lines(found, width)
    lines += ["", "Image"]
    lines.append(f"  {found.image.get('digest', 'not built yet → tarebench image build')}")
    lines.append(f"  cache {found.cache['path']}: {bytes_text(int(found.cache['bytes']))}")
    return "\n".join(lines)


def _rights_lines(found: Diagnosis, width: int) -> Sequence[str]:
    """What takes root: runtimes that this user may not use, and what else is done with a right."""
    lines = ["", "Rights: what takes root here, and whether this user may do it"]
    refused = [state for state in found.runtimes if state.needs_root]
    if refused:
        names = ", ".join(state.name for state in refused)
        lines.append(hanging("  ✗ ", f"runtimes: {names}", width))
        lines += [
            hanging(" " * 6, f"→ {remedy}", width)
            for remedy in dict.fromkeys(state.remedy for state in refused)
        ]
    for right in found.rights:
        sign = "✓" if right.had else "✗"
        lines.append(hanging(f"  {sign} ", f"{right.name}: {right.text}", width))
        if not right.had:
            lines.append(hanging(" " * 6, f"→ {right.remedy}", width))
    return lines


def _noise_lines(found: Diagnosis, width: int) -> Sequence[str]:
    """What was heard in an idle second, and what is tuned now."""
    lines = ["", "Noise: an idle second; `run --strict` refuses where a limit is exceeded"]
    for reading in found.noise:
        sign = "!" if reading.noisy else "·"
        lines.append(hanging(f"  {sign} ", f"{reading.name}: {reading.text}", width))
        if reading.noisy:
            lines.append(hanging(" " * 6, f"→ {reading.remedy}", width))
    if found.tuned:
        lines += ["", "Tuned now; tarebench doctor --untune puts it back to"]
        lines += [hanging("    ", f"{path}: {value}", width) for path, value in found.tuned.items()]
    return lines
