"""The form of a scenario file as JSON Schema, for editors that complete and check TOML.

It is made from the same types that read scenarios, so that it cannot say something else. The
shipped copy, `scenarios/scenario.schema.json`, is written by `python -m harness.schema`, and
a test holds it up to date.
"""

from __future__ import annotations

import json

import msgspec

from harness import resources
from harness.scenario import ScenarioFile

NAME = "scenario.schema.json"


def text() -> str:
    """The schema of a scenario file (JSON Schema, draft 2020-12)."""
    made = msgspec.json.schema(ScenarioFile)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A scenario of tarebench",
    }
    return json.dumps({**head, **made}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (resources.scenarios() / NAME).write_text(text(), encoding="utf-8")
