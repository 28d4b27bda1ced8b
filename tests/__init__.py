"""Tests of Oculus; the folders mirror the package."""
