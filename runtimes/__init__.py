"""One module a runtime: small adapters to real APIs, found by entry point."""
