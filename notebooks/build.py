"""Makes the lessons' notebooks from their texts: runs each on the reference runs that ship.

A lesson is written as text (NAME.py, cells between `# %%`), which can be read in a diff and
checked by the house rules. Its notebook (NAME.ipynb) is made from it and never edited: the same
cells, their output, and nothing of the machine or the hour in which it was made. That in another
language (LANGUAGE/NAME.ipynb) has the same code and other words (notebooks/translated.py).

    python notebooks/build.py [--to FOLDER] [--lang LANGUAGE] [NAME …]

writes them here, or into FOLDER; all of them, or those of a language or with these names.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

from notebooks.translated import HERE, LANGUAGES, lessons, translated

ENGLISH = "en"
TIMEOUT_S = 120
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
    "jupytext": {"formats": "ipynb,py:percent"},
}


def main(argv: Sequence[str]) -> int:
    """Write notebooks; returns an exit code."""
    every = (ENGLISH, *LANGUAGES)
    parser = ArgumentParser(description="Makes the lessons' notebooks from their texts.")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER")
    parser.add_argument("--lang", choices=every, action="append", metavar="LANGUAGE")
    parser.add_argument("names", nargs="*", metavar="NAME", help="the first letters will do")
    asked = parser.parse_args(argv)
    wanted = [
        (text, language)
        for text in lessons()
        if not asked.names or text.name.startswith(tuple(asked.names))
        for language in asked.lang or every
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each is a kernel, a process of its own
        for path in pool.map(lambda each: write(*each, asked.to), wanted):
            print(path)
    return 0


def write(text: Path, language: str, folder: Path) -> Path:
    """Make the notebook of a lesson in a language; returns where it is."""
    path = notebook_of(text, language, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(executed(text, language)) + "\n", encoding="utf-8")
    return path


def notebook_of(text: Path, language: str, folder: Path = HERE) -> Path:
    """Where a lesson's notebook lies, of those in a folder."""
    own = folder if language == ENGLISH else folder / language
    return own / f"{text.stem}.ipynb"


def executed(text: Path, language: str = ENGLISH) -> Any:
    """The notebook of a lesson's text, with the output of every cell.

    Raises nbclient's CellExecutionError, which shows the cell, where one fails.
    """
    notebook = jupytext.read(text) if language == ENGLISH else translated(text, language)
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
