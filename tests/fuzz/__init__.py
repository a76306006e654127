"""Bad input by the thousand: what is fed, how it is bent, and what must hold whatever comes.

`python -m tests.fuzz` runs a campaign (docs/robustness.md); the tests run bounded ones.
"""
