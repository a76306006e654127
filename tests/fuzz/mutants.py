"""How good input is bent: bytes cut and spliced, and documents with parts that are others.

Bytes alone rarely get past a parser of JSON, so where a seed is JSON (or lines of it) its tree
is bent too: a value becomes another of any type, a key is lost, doubled or renamed. So are the
frames of a conversation with the agent, whose lengths stay right.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import strategies as st

_HEADER = struct.Struct("<4sI")

BITS = (
    b"\n", b"\x00" * 9, b"{}", b"[]", b'"', b"'", b"[" * 2000, b"{\"a\":" * 500, b"9" * 400,
    b"\xff",
    b"-", b"1e999", b"NaN", b"null", b"true", b"\r\n", b"\t", b"=", b",", b"%", b"..", b"/", b"\\",
    b"../../../etc/x", b"<script>", b"]]>", b"\x1b[2J", "\u202e".encode(), b"$(id)", b"`id`", b";",
    b"18446744073709551616", b"9223372036854775807", b"-1", b"0", b"4096", b"2147483648",
    b"-9223372036854775809", b"0x10", b"1_0", "٣".encode(), b"{scratch}",
)  # fmt: skip
"""What breaks readers elsewhere: ends of text, deep nests, numbers beyond a type, ways out."""

WORDS = st.sampled_from(
    ["", " ", "..", "../../x", "/etc/passwd", "a\0b", "a\nb", "=1+1", "<b>", "&amp;", "\u202e",
     "\ud800",
     "-rf", "%s", "{0}", "'", '"', "$(id)", "x" * 5000]
)  # fmt: skip
LEAVES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
    | st.sampled_from([2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 1e308, -0.0])
)  # fmt: skip
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The data cut off, with pieces replaced, doubled or put in."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made)))
        gone = draw(st.sampled_from([0, 1, 7, 300]))
        other = draw(st.integers(0, len(data)))
        piece = data[other : other + draw(st.integers(0, 60))]
        made[at : at + gone] = draw(
            st.one_of(st.binary(max_size=40), st.sampled_from([*BITS, piece]))
        )
    return bytes(made[: draw(st.integers(0, len(made)))] if draw(st.booleans()) else made)


@st.composite
def bent(draw: st.DrawFn, tree: Any) -> Any:
    """The tree with one to three of its nodes replaced, lost or renamed."""
    made = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 3))):
        made = _bent_once(draw, made)
    return made


def _bent_once(draw: st.DrawFn, tree: Any) -> Any:
    """Go down by chance, and change what is there."""
    if not isinstance(tree, (dict, list)) or not tree or draw(st.integers(0, 7)) == 0:
        return draw(TREES)
    if isinstance(tree, list):
        at = draw(st.integers(0, len(tree) - 1))
        inner = draw(st.sampled_from(["down", "lost", "doubled"]))
        if inner == "down":
            return [*tree[:at], _bent_once(draw, tree[at]), *tree[at + 1 :]]
        return [*tree[:at], *([tree[at]] * 2 if inner == "doubled" else []), *tree[at + 1 :]]
    key = draw(st.sampled_from(sorted(tree)))
    rest = {name: value for name, value in tree.items() if name != key}
    match draw(st.sampled_from(["down", "down", "down", "lost", "renamed"])):
        case "lost":
            return rest
        case "renamed":
            return {**rest, draw(st.text(max_size=8) | WORDS): tree[key]}
        case _:
            return {**tree, key: _bent_once(draw, tree[key])}


def mutants(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Inputs near the seeds, and a few that are near nothing."""
    return st.one_of(
        *(strategy for seed in seeds for strategy in _near(seed)), st.binary(max_size=200),
        st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )  # fmt: skip


def parted(data: bytes) -> list[tuple[bytes, list[bytes]]]:
    """Frames of the agent's, each with its strings; empty for what is none."""
    found, at = [], 0
    while at + _HEADER.size <= len(data):
        kind, length = _HEADER.unpack_from(data, at)
        payload = data[at + _HEADER.size : at + _HEADER.size + length]
        if len(payload) != length or not kind.isascii():
            return []
        found.append((kind, payload.split(b"\0")))
        at += _HEADER.size + length
    return found if at == len(data) else []


@st.composite
def reframed(draw: st.DrawFn, frames: list[tuple[bytes, list[bytes]]]) -> bytes:
    """Whole frames, in some order, with some of their strings others."""
    made = b""
    for kind, texts in draw(st.lists(st.sampled_from(frames), min_size=1, max_size=4)):
        given = list(texts)
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(given) - 1))
            given[at : at + draw(st.integers(0, 1))] = draw(
                st.lists(st.sampled_from(BITS) | st.binary(max_size=20), max_size=2)
            )
            given = given or [b""]
        payload = b"\0".join(given)
        made += _HEADER.pack(kind, len(payload)) + payload
    return made


def _near(seed: bytes) -> list[st.SearchStrategy[bytes]]:
    if frames := parted(seed):
        return [damaged(seed), reframed(frames), reframed(frames)]
    lines = seed.splitlines()
    for parts, whole in (([seed], False), (lines, True)):
        try:
            trees = [json.loads(part) for part in parts]
        except ValueError:
            continue
        if not trees or not all(isinstance(tree, (dict, list)) for tree in trees):
            continue
        return [damaged(seed), _documents(trees, whole)]
    return [damaged(seed)]


@st.composite
def _documents(draw: st.DrawFn, trees: list[Any], lines: bool) -> bytes:
    at = draw(st.integers(0, len(trees) - 1))
    made = [*trees[:at], draw(bent(trees[at])), *trees[at + 1 :]]
    texts = [json.dumps(tree, ensure_ascii=draw(st.booleans())) for tree in made]
    data = "\n".join(texts).encode("utf-8", "surrogatepass")
    return data + b"\n" if lines else data
