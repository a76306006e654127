"""The schema that editors use says the same as the program that reads scenarios."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness import resources, schema
from harness.errors import HarnessError
from harness.scenario import available, load

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: make setup")

TOP = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted((TOP / "docs" / "examples").glob("*.toml"))
FILES = [*available().values(), *EXAMPLES]


@pytest.fixture(scope="module")
def validator() -> Any:
    document = json.loads((resources.scenarios() / schema.NAME).read_text())
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def test_shipped_copy_is_up_to_date() -> None:
    shipped = (resources.scenarios() / schema.NAME).read_text()
    assert shipped == schema.text(), "python -m harness.schema writes it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_scenarios_and_examples_are_valid_and_name_their_schema(
    path: Path, validator: Any
) -> None:
    text = path.read_text()
    validator.validate(tomllib.loads(text))
    load(str(path))
    first = text.splitlines()[0]
    assert first.startswith("#:schema ")
    assert (path.parent / first.removeprefix("#:schema ")).resolve().name == schema.NAME
    assert (path.parent / first.removeprefix("#:schema ")).is_file()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("blocks",), 0),
        (("limits", "cpus"), "some"),
        (("limits", "cpu"), 1),
        (("experiments", "startup", "ready_timeout_s"), -1),
        (("image", "packages"), ["zstd=1.5"]),
        (("image", "packages"), ["-oAPT::x=y"]),
        (("image", "packages"), ["zstd-"]),
        (("workload", "parser", "kind"), "csv"),
        (("workload", "parser", "values", "round", "unit"), "ms"),
        (("workload", "parser", "values", "Round"), {"unit": "s", "better": "lower"}),
        (("thresholds", "job.round", "ratio"), 1.0),
    ],
)
def test_what_the_program_refuses_an_editor_underlines(
    place: tuple[str, ...], value: object, validator: Any, tmp_path: Path
) -> None:
    raw: dict[str, Any] = tomllib.loads((TOP / "docs/examples/sorting.toml").read_text())
    validator.validate(raw)
    table = raw
    for key in place[:-1]:
        table = table.setdefault(key, {})
    table[place[-1]] = value
    assert list(validator.iter_errors(raw))
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(_toml(raw)))
    with pytest.raises(HarnessError):
        load(str(file))


def _toml(table: dict[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Just enough TOML: strings, numbers and lists as JSON writes them, tables by dotted keys."""
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _toml(value, (*path, json.dumps(key))) or [
                f"{'.'.join((*path, json.dumps(key)))} = {{}}"
            ]
        else:
            lines.append(f"{'.'.join((*path, json.dumps(key)))} = {json.dumps(value)}")
    return lines
