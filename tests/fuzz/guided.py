"""One target under atheris: `python -m tests.fuzz.guided TARGET CORPUS [libFuzzer's options]`.

The modules that read are instrumented while they are imported, so this is a process of its own.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["harness", "runtimes"]):
    from tests.fuzz.promises import Broken, hold
    from tests.fuzz.targets import targets


def main() -> None:
    """Never returns: libFuzzer exits."""
    target = targets()[sys.argv.pop(1)]

    def feed(data: bytes) -> None:
        try:
            hold(target, data)
        except Broken as error:  # libFuzzer prints it where nobody reads
            print(error, file=sys.stderr, flush=True)
            raise

    atheris.Setup(sys.argv, feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
