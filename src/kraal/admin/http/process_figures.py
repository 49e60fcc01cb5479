"""What Prometheus clients export of their process, by the usual names.

`prometheus_client` has them, too, but lists the open descriptors to count them: with thousands of
clients the loop would stand still for many milliseconds at each scrape.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from resource import getpagesize
from time import CLOCK_BOOTTIME, clock_gettime, time

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family

_STAT = Path("/proc/self/stat")
_STARTED, _SIZE, _RESIDENT = 19, 20, 21
"""Fields behind the name of the process: ticks since the system began, bytes, pages."""


def process_figures(numbers: Mapping[str, int | float]) -> Iterator[Family]:
    """The families; nothing on systems without /proc. `numbers` are the server's own."""
    try:
        fields = _STAT.read_text().rpartition(")")[2].split()
    except OSError:
        return
    ticks = os.sysconf("SC_CLK_TCK")
    began = time() - clock_gettime(CLOCK_BOOTTIME) + int(fields[_STARTED]) / ticks
    used = os.times()
    for name, meaning, value in (
        ("virtual_memory_bytes", "Virtual memory size in bytes.", int(fields[_SIZE])),
        (
            "resident_memory_bytes", "Resident memory size in bytes.",
            int(fields[_RESIDENT]) * getpagesize(),
        ),
        ("start_time_seconds", "Start time of the process since unix epoch in seconds.", began),
        (
            "open_fds", "Number of open file descriptors.",
            numbers["open_file_descriptor_count"],
        ),
        (
            "max_fds", "Maximum number of open file descriptors.",
            numbers["max_file_descriptor_count"],
        ),
    ):  # fmt: skip
        yield GaugeMetricFamily(f"process_{name}", meaning, value)
    yield CounterMetricFamily(
        "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
        used.user + used.system,
    )  # fmt: skip
