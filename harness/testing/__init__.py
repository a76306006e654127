"""The pytest plugin: the fixture `box`, by which anybody's test runs in every box.

`plugin` is what pytest loads in every session, and is light: it knows options and hooks. The
rest is loaded when the first test asks for a box. docs/pytest.md tells how to use it.
"""
