"""Reads stored runs and turns them into numbers with their uncertainty.

Nothing here talks to a live runtime, and nothing needs Linux: a run that was measured on one
machine is read, compared and reported on any other.
"""
