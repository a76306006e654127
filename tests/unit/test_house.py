"""The house rules: they hold by test, not by habit (CONTRIBUTING.md tells them)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("harness", "runtimes", "scenarios", "setup")
MODULES = sorted(path for package in PACKAGES for path in (TOP / package).rglob("*.py"))
LONGEST_MODULE = 500
LONGEST_FUNCTION = 60
TEXT = re.compile(r"\.(c|cfg|css|csv|html|j2|json|md|py|sh|svg|toml|txt|xml|yml)")
FORBIDDEN = {
    "a path of a developer's machine": r"(?<![\w.])/(?:work|root|home/\w+)/",
    "the address of a package index": r"(?:pypi\.org|pythonhosted\.org|deb\.debian\.org|"
    r"snapshot\.debian\.org|archive\.ubuntu\.com)",
    "a merge conflict": r"^(?:<{7}|>{7}) ",
}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def tool(*arguments: str) -> None:
    """Run a tool of the environment on the checkout; its output is the failure's text."""
    done = subprocess.run(
        [Path(sys.executable).with_name(arguments[0]), *arguments[1:]],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"


def test_ruff_finds_nothing() -> None:
    tool("ruff", "check", "--quiet")


def test_code_is_formatted() -> None:
    tool("ruff", "format", "--check", "--quiet")


def test_types_hold() -> None:
    tool("mypy")


def test_imports_point_one_way() -> None:
    tool("lint-imports")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(TOP)))
def test_modules_are_short(module: Path) -> None:
    lines = len(module.read_text().splitlines())
    assert lines <= LONGEST_MODULE, f"{lines} lines"


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by their name alone, where their folder is no package."""
    folders = [path for path in (TOP / "tests").iterdir() if not (path / "__init__.py").exists()]
    names = [path.name for folder in folders for path in folder.glob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_functions_are_short() -> None:
    long = [
        f"{where}: {node.name} has {size} lines"
        for where, node, _ in definitions()
        if not isinstance(node, ast.ClassDef)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long, "\n".join(long)


def test_what_is_public_is_explained() -> None:
    """Modules, public classes and public functions at a module's top have docstrings."""
    silent = [
        f"{module.relative_to(TOP)}: the module"
        for module in MODULES
        if not ast.get_docstring(ast.parse(module.read_text()))
    ]
    silent += [
        f"{where}: {node.name}"
        for where, node, top in definitions()
        if top and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


def test_nothing_of_this_machine_is_in_the_files() -> None:
    found = [
        f"{path.relative_to(TOP)}:{number}: {what}: {line.strip()[:80]}"
        for path in shipped_texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


def test_starting_the_command_loads_no_heavy_library() -> None:
    """Nor one that only some runtimes need: its absence must cost nobody the rest."""
    heavy = ("docker", "libvirt", "matplotlib", "numpy", "pandas", "pyarrow", "scipy")
    code = f"import sys, harness.cli; sys.exit(str([n for n in {heavy!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def definitions() -> Iterator[tuple[str, Definition, bool]]:
    """Every class and function: where it is, its node, and whether it is at a module's top."""
    for module in MODULES:
        tree = ast.parse(module.read_text())
        for node in ast.walk(tree):
            if isinstance(node, Definition):
                yield f"{module.relative_to(TOP)}:{node.lineno}", node, node in tree.body


def shipped_texts() -> Sequence[Path]:
    """The text files that git keeps or would keep, but for this one."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [TOP / name for name in listed.stdout.splitlines()]
    plain = {"Makefile", "LICENSE", "run"}
    return [
        path
        for path in paths
        if (TEXT.fullmatch(path.suffix) or path.name in plain)
        and path.is_file()
        and path != Path(__file__).resolve()
    ]
