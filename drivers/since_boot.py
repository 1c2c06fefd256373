"""A clock for what may not outlive a sleep of the machine, alike in all of its processes."""

from __future__ import annotations

import time


def since_boot_s() -> float:
    """Return seconds on a clock that never goes back and counts suspended time where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
