# SPDX-License-Identifier: Apache-2.0
"""The suites `cache` and `coverage` of bench/run.py."""

import pathlib
import tempfile
import time

from server import Server
from suite import BINARIES, MIB, figure, merge, program, steady

TRANSPORTS = ("local", "tcp", "ucx")
LAYERS = 32
SET_BYTES = 512 * MIB  # five times the last-level cache of the machines that this runs on
EXTENTS = {"64 KiB": 64 << 10, "256 KiB": 256 << 10, "1 MiB": MIB, "4 MiB": 4 * MIB}
IDLE_POOL = 64 * MIB
IDLE_SECONDS = 5
IDLE_BYTES = 160 * MIB  # beside the pool
IDLE_SHARE = 0.01  # of a core


def shape(extent):
    return ["--extent", extent, "--layers", LAYERS, "--blocks", SET_BYTES // (LAYERS * extent)]


def run_cache():
    parts = {}
    for transport in TRANSPORTS:
        over = ["--transport", transport]
        for name, extent in EXTENTS.items():
            for checksums, flags in (("no checksums", ["--no-checksum"]), ("checksums", [])):
                parts[f"{transport}, {name}, {checksums}"] = steady(
                    "cache", "fetch", *over, *shape(extent), *flags, attempts=2 if extent == MIB else 1)
        parts[f"{transport}, fill"] = steady("cache", "fill", *over, *shape(MIB), attempts=2)
        parts[f"{transport}, 4 KiB"] = program("cache", "fetch", *over, "--order", "single", "--extent", 4096, "--layers", 1,
                                               "--blocks", 1000)
    for transport in ("local", "tcp"):
        parts[f"{transport}, mixed"] = steady("cache", "mixed", "--transport", transport, "--duration", "1s", attempts=2)
    parts["idle"] = idle()
    return merge("cache", parts)


def run_coverage():
    parts = {transport: steady("cache", "coverage", "--transport", transport, "--growth", 0) for transport in TRANSPORTS}
    # The index by itself is the same whatever carries the questions.
    parts["growth"] = steady("cache", "coverage", "--transport", "local", attempts=1)
    for kind in ("ratios", "targets"):
        of_index = parts["growth"][kind]
        parts["growth"][kind] = {name: value for name, value in of_index.items() if name not in parts["local"][kind]}
    parts["growth"]["results"] = [each for each in parts["growth"]["results"] if each["name"].startswith("index")]
    return merge("coverage", parts)


def idle():
    """What a server costs while nobody asks it for anything."""
    with tempfile.TemporaryDirectory(prefix="droidspeak-bench-") as folder:
        with Server(BINARIES, pathlib.Path(folder), IDLE_POOL, "tcp") as server:
            program("cache", "fetch", "--servers", server.address, "--transport", "tcp", "--layers", 8, "--blocks", 4, "--repeats",
                    1)  # it has worked before
            shares = []
            for _ in range(IDLE_SECONDS):
                before, start = server.cpu_seconds(), time.monotonic()
                time.sleep(1)
                shares.append((server.cpu_seconds() - before) / (time.monotonic() - start))
            beside = server.resident_bytes() - IDLE_POOL
    cpu = figure("processor time, idle", "% of a core", [100 * share for share in shares])
    memory = figure("resident beside the pool, idle", "MiB", [beside / MIB])
    ratios = {"1 % of a core/processor time": 100 * IDLE_SHARE / max(cpu["median"], 1e-6), "160 MiB/resident": IDLE_BYTES / beside}
    return {**program("machine"), "settings": {"host_pool_bytes": IDLE_POOL, "seconds": IDLE_SECONDS}, "results": [cpu, memory],
            "ratios": ratios, "targets": dict.fromkeys(ratios, 1.0)}
