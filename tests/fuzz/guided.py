"""One target under atheris: `python -m tests.fuzz.guided TARGET CORPUS [libFuzzer's options]`.

The modules that read are instrumented while they are imported, so this is a process of its own.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["harness", "runtimes"]):
    from tests.fuzz.promises import hold
    from tests.fuzz.targets import targets


def main() -> None:
    """Never returns: libFuzzer exits."""
    target = targets()[sys.argv.pop(1)]
    atheris.Setup(sys.argv, lambda data: hold(target, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
