"""The ceiling above users' SQL: what it leaves to the rest of the process."""

from __future__ import annotations

import sys

import pytest

from tests.support.process import printed


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no ceiling")
def test_the_hub_has_memory_of_its_own_at_the_upper_bound() -> None:
    """Small and large objects find room where the kernel gives no more, and it costs nothing before."""
    shown = printed("""
        from oculus.storage.memory import RESERVE, Ceiling
        from oculus.telemetry import resident

        before = resident()
        ceiling = Ceiling(-RESERVE)
        print(resident() - before < 2_000_000)
        ceiling.raise_up()
        small = [str(number) * 20 for number in range(150_000)]
        large = bytearray(8_000_000)
        ceiling.take_down()
        print(len(small), len(large))
    """)
    assert shown == "True\n150000 8000000\n"
