"""Rules: what is true of the numbers, and the alerts that follow.

Pure but for `loop.py`, which runs them: time and data are arguments.
"""
