"""Runs on their way to other tools, and other tools' results on their way in.

What is written and read here is somebody else's format: each module does one, and says what
of a run that format cannot hold instead of bending it.
"""
