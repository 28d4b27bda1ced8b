"""Tests of the rules: the language, the messages and the engine."""
