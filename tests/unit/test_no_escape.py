"""A name or a path stays a value, whatever it holds: in XML, in a spreadsheet, as a file's name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.export import harmless, harmless_name, to_csv
from harness.analysis.frames import load_run
from harness.errors import EnvironmentRefused
from harness.paths import require_plain
from runtimes.container_xml import container_xml
from runtimes.domain_xml import domain_xml
from runtimes.vendor_xml import openvz_xml, vmware_xml
from runtimes.xen_xml import xen_xml
from tests.domains import CONTAINER, MACHINES, OPENVZ, VMWARE, XEN
from tests.synthetic import Plan, make_run

HOSTILE = (
    "/a\"><evil b='c'/>", "/a'/><evil/>", "/&amp;&#0;&x;", "/]]><!-- ", "/a<b",
    "/%s {0} $(id) `id`",
)  # fmt: skip
DRIVERS: dict[str, tuple[Any, Callable[[Any], str]]] = {
    **{name: (machine, domain_xml) for name, machine in MACHINES.items()},
    "lxc": (CONTAINER, container_xml), "xen": (XEN, xen_xml), "vmware": (VMWARE, vmware_xml),
    "openvz": (OPENVZ, openvz_xml),
}  # fmt: skip


def shape(xml: str) -> list[tuple[str, list[str]]]:
    """Each element with the names of its attributes: all but the values."""
    return [(each.tag, sorted(each.attrib)) for each in ElementTree.fromstring(xml).iter()]


@pytest.mark.parametrize("driver", sorted(DRIVERS))
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_path_or_name_changes_the_shape_of_a_domain(driver: str, hostile: str) -> None:
    machine, make = DRIVERS[driver]
    before = shape(make(machine))
    for field in fields(machine):
        value = getattr(machine, field.name)
        if isinstance(value, Path):
            changed = replace(machine, **{field.name: Path(hostile)})
        elif value and field.name in ("name", "command_line", "emulator", "word"):
            changed = replace(machine, **{field.name: hostile})
        else:
            continue
        xml = make(changed)
        assert shape(xml) == before, field.name


@given(st.text(max_size=40))
def test_no_cell_is_a_formula(text: str) -> None:
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_a_csv_has_no_formula_in_any_cell(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare",), blocks=2))
    journal = folder / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["reason"] = ("=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1")[number % 5]
        line["outcome"] = "failed"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = list(csv.DictReader(io.StringIO(to_csv(load_run(folder)).decode())))
    assert {row["reason"][:2] for row in rows} >= {"'=", "'+", "'-", "'@"}
    numbers = ("value", "block", "position")
    cells = [cell for row in rows for name, cell in row.items() if name not in numbers]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@given(st.text(max_size=300))
def test_a_word_of_others_is_one_files_name(text: str) -> None:
    name = harmless_name(text)
    assert Path(name).name == name
    assert name not in (".", "..")
    assert len(name.encode()) <= 255


@pytest.mark.parametrize("name", ["a\nlxc.hook.start = x", "a\rb", "a\x1b[2J", "a\x7f"])
def test_folders_with_control_characters_are_refused(name: str) -> None:
    """A configuration of LXC has a line a setting, and there is no way to quote its end."""
    with pytest.raises(EnvironmentRefused, match="control character"):
        require_plain(Path("/cache") / name)


def test_folders_with_any_other_character_are_not() -> None:
    require_plain(Path("/cache") / "a b,c:d=e'f\"g&<h>\\%i é")
