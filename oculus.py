"""Launcher of a checkout: `python oculus.py …` is the same program as `oculus …` and `oculus.pyz …`."""

import runpy

runpy.run_module("oculus", run_name="__main__", alter_sys=True)
