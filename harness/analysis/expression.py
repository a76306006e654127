"""The little language of `tarebench compare --fail-if`: which change of which metric is too much.

    expression = metric [ "[" runtime "]" ] [ "{" dimension { "," dimension } "}" ] sign change
    metric     = word { "." word }                     startup.ready
    runtime    = name { "," key "=" value } | text     docker,network=none   "sleep 0.1"
    dimension  = key "=" ( value | text )              depth=16   rung="Docker, bridge"
    sign       = ">" | "<"
    change     = [ "+" | "-" ] number "%"              +10%   -2.5 %
    text       = '"' letters '"'                         a backslash before a quotation mark

The change is that of the new median against the base's: `> +10%` asks whether the metric grew by
more than a tenth, `< -5%` whether it fell by more than a twentieth. Without a runtime every
runtime is meant, without dimensions every series. Blanks may stand between any two parts. What it
means that an expression *holds* is defined in harness/analysis/gates.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.cells import cell_len

from harness.errors import UsageError

_EXAMPLE = "for example startup.ready[docker] > +10%"
_METRIC = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*", re.ASCII)
_WORD = re.compile(r"[\w.+-]+", re.ASCII)
_VALUE = re.compile(r"[^\s,\[\]{}\"<>]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_BLANKS = re.compile(r"\s*")
_MINUS = "-\N{MINUS SIGN}"
_SHOWN = 60


class ExpressionError(UsageError):
    """An expression that cannot be read; `position` is the character at which that was seen."""

    def __init__(self, text: str, position: int, wanted: str, hint: str = _EXAMPLE) -> None:
        shown = "".join(letter if letter.isprintable() else "\N{MIDDLE DOT}" for letter in text)
        begin = max(0, position - _SHOWN // 2) if len(shown) > _SHOWN else 0
        part = shown[begin : begin + _SHOWN]
        caret = " " * cell_len(shown[begin:position]) + "^"
        message = f"--fail-if cannot be read at character {position + 1}: {wanted}"
        super().__init__(f"{message}\n    {part}\n    {caret}", hint)
        self.position = position


@dataclass(frozen=True)
class Expression:
    """A change that is too much.

    `runtime` is None for every runtime. `above` tells the sign, and `limit` is the change as a
    ratio of new to base: `> +10%` is above 1.1.
    """

    text: str
    metric: str
    runtime: str | None
    dimensions: Mapping[str, str]
    above: bool
    limit: float

    def selects(self, metric: str, runtime: str, dimensions: Mapping[str, str]) -> bool:
        """Whether a series is meant; the order of a runtime's parameters does not matter."""
        return (
            self.metric == metric
            and (self.runtime is None or same_runtime(self.runtime, runtime))
            and self.dimensions.items() <= dimensions.items()
        )


def same_runtime(first: str, second: str) -> bool:
    """Whether two names are the same runtime with the same parameters."""
    return _parts(first) == _parts(second)


def _parts(runtime: str) -> tuple[str, frozenset[str]]:
    name, *parameters = runtime.split(",")
    return name, frozenset(parameters)


def parse(text: str) -> Expression:
    """Read one expression; raises ExpressionError with the place of the fault."""
    return _Reader(text).expression()


@dataclass
class _Reader:
    """Reads from left to right; `at` is the next character."""

    text: str
    at: int = field(default=0)

    def expression(self) -> Expression:
        metric = self._take(_METRIC, "a metric was expected")
        runtime = self._runtime() if self._skip("[") else None
        dimensions = self._dimensions() if self._skip("{") else {}
        above = self._sign()
        limit = self._change()
        self._blanks()
        if self.at < len(self.text):
            raise self._fault("nothing more was expected", "give --fail-if once an expression")
        return Expression(self.text.strip(), metric, runtime, dimensions, above, limit)

    def _runtime(self) -> str:
        parts = (
            [self._text(_NO_RUNTIME)]
            if self._is_quoted()
            else [self._take(_WORD, "a runtime's name was expected", _NO_RUNTIME)]
        )
        while self._skip(","):
            parts.append(self._pair())
        if not self._skip("]"):
            raise self._fault("the runtime is not closed by ]")
        return ",".join(parts)

    def _pair(self) -> str:
        key = self._take(_WORD, "a parameter was expected", _PARAMETERS)
        if not self._skip("="):
            raise self._fault("a parameter has no value", _PARAMETERS)
        return f"{key}={self._take(_VALUE, 'a value was expected', _PARAMETERS)}"

    def _dimensions(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while True:
            begin = self.at
            key = self._take(_WORD, "a dimension was expected", _DIMENSIONS)
            if not self._skip("="):
                raise self._fault("a dimension has no value", _DIMENSIONS)
            if key in found:
                self.at = begin
                raise self._fault(f"the dimension {key} is given twice", "give it once")
            found[key] = self._dimension()
            if not self._skip(","):
                break
        if not self._skip("}"):
            raise self._fault("the dimensions are not closed by }")
        return found

    def _dimension(self) -> str:
        if not self._is_quoted():
            return self._take(_VALUE, "a value was expected", _DIMENSIONS)
        return self._text(_DIMENSIONS)

    def _is_quoted(self) -> bool:
        return self.text.startswith('"', self._blanks())

    def _text(self, hint: str) -> str:
        quoted = _QUOTED.match(self.text, self.at)
        if quoted is None:
            raise self._fault("the quotation mark is not closed", hint)
        self.at = quoted.end()
        return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)

    def _sign(self) -> bool:
        above = self._skip(">")
        if not above and not self._skip("<"):
            raise self._fault("> or < was expected")
        if self.text.startswith("=", self.at):
            raise self._fault("there is no >= or <=", "write > or <: a median is never exactly so")
        return above

    def _change(self) -> float:
        begin = self._blanks()
        negative = self.text[self.at : self.at + 1] in tuple(_MINUS)
        if negative or self.text.startswith("+", self.at):
            self.at += 1
        number = float(self._take(_NUMBER, "a change in percent was expected"))
        if not self._skip("%"):
            raise self._fault("the change is not a percentage", "write % after the number")
        limit = 1 + (-number if negative else number) / 100
        if limit < 0 or not math.isfinite(limit):
            self.at = begin
            raise self._fault("nothing can fall by more than 100 %", _EXAMPLE)
        return limit

    def _take(self, pattern: re.Pattern[str], wanted: str, hint: str = _EXAMPLE) -> str:
        self._blanks()
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self._fault(wanted, hint)
        self.at = found.end()
        return found[0]

    def _skip(self, mark: str) -> bool:
        """Go past a mark if it comes next."""
        self._blanks()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _blanks(self) -> int:
        found = _BLANKS.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def _fault(self, wanted: str, hint: str = _EXAMPLE) -> ExpressionError:
        if self.at >= len(self.text):
            wanted += ", and the expression ends here"
        return ExpressionError(self.text, self.at, wanted, hint)


_NO_RUNTIME = 'name one as in [docker] or ["sleep 1"], or leave the brackets out to mean all'
_PARAMETERS = "write parameters as in [docker,network=none]"
_DIMENSIONS = 'write dimensions as in {depth=16} or {rung="Docker, bridge"}'
