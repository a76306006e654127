"""Sentences that a teaching text says, each held against stored runs.

`declared` reads what is asked (results/claims.toml), `checks` finds the numbers, `answers` says
what follows from them.
"""
