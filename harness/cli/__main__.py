"""`python -m harness.cli` is `tarebench`."""

from harness.cli import main

main()
