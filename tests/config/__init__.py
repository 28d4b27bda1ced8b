"""Tests of the configuration: files to nodes, nodes to settings, and the whole."""
