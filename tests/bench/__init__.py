"""Measurements, run by hand; nothing here is a test. `python -m tests.bench.<name> --help` tells more."""
