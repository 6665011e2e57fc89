"""Where it is measured."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import time

from bench import servers


def machine() -> dict[str, object]:
    """Where and with what it was measured: a figure without it says nothing."""
    cpu = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    compiler = subprocess.run(
        [os.environ.get("CXX", "c++"), "--version"], capture_output=True, text=True
    )
    return {
        "cpu": cpu,
        "cpus": len(servers.CPUS),
        "kernel": f"{platform.system()} {platform.release()}",
        "compiler": compiler.stdout.partition("\n")[0] + ", release preset",
        "date": time.strftime("%Y-%m-%d"),
        "descriptors": servers.raise_descriptor_limit(),
        "server_cpu": servers.SERVER_CPU,
        "load_cpu": servers.LOAD_CPU,
    }
