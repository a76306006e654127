"""Makes the lessons' notebooks from their texts: runs each on the reference runs that ship.

A lesson is written as text (NAME.py, cells between `# %%`), which can be read in a diff and
checked by the house rules. Its notebook (NAME.ipynb) is made from it and never edited: the same
cells, their output, and nothing of the machine or the hour in which it was made.

    python notebooks/build.py [FOLDER]      writes NAME.ipynb here, or into FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
LESSONS = "[0-9][0-9]-*.py"
TIMEOUT_S = 120
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
    "jupytext": {"formats": "ipynb,py:percent"},
}


def main(argv: Sequence[str]) -> int:
    """Write all notebooks; returns an exit code."""
    folder = Path(argv[0]) if argv else HERE
    for text in sorted(HERE.glob(LESSONS)):
        path = folder / text.with_suffix(".ipynb").name
        path.write_text(nbformat.writes(executed(text)) + "\n", encoding="utf-8")
        print(path)
    return 0


def executed(text: Path) -> Any:
    """The notebook of a lesson's text, with the output of every cell.

    Raises nbclient's CellExecutionError, which shows the cell, where one fails.
    """
    notebook = jupytext.read(text)
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False,
        coalesce_streams=True, resources={"metadata": {"path": str(HERE)}},
    )  # fmt: skip
    client.execute()
    return clean(notebook)


def clean(notebook: Any) -> Any:
    """The same notebook without what differs from machine to machine."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            output.metadata = nbformat.from_dict({})
    return notebook


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
