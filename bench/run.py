#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs benchmarks, writes build/bench/NAME.json, and renews their sections of docs/results.md.

    transport        what each transport moves by itself, against ucx_perftest and memcpy
    cache            layer-wise fetch and store of extents of 64 KiB to 4 MiB, against the transport alone, with and without
                     checksums; single gets; readers and writers at a time; what an idle server costs
    coverage         asking which blocks are there, against an echo of as many bytes, and of an index of up to 10 M blocks
    peers            the same data set in other caches (LMCache, Redis, Mooncake, InfiniStore) and in ours; only when named: it
                     installs them first, 6.4 GB
    partial-prefill  partial prefill with everything fetched over TCP, against the ideal of the same engine
    engine           prefill and decoding of one sequence, against what the processor allows and against transformers; only when
                     named: it installs that first, 4.7 GB
    serve            what storing what it computes costs an engine that serves
    memory           peak resident memory of server and engine, against their bounds
    spill            the RocksDB tier against fio on the same disk: read, write, durable, eviction, recovery
    simulate         eviction policies on made-up traces: the server's, LRU, S3-FIFO and GDSF

Each is one JSON object as droidspeak-bench prints it. Figures mean something on an idle machine only: a run whose baseline
varies by more than 10 % between its quartiles is repeated up to twice, and then reported as it is. A missed target is a
result, not a failure. Needs only Python's standard library.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cache.suite import run_cache, run_coverage
from engine.suite import run_engine
from peers.suite import run_peers
from results_page import refresh
from server import Server, peak_bytes
from storing.suite import run_serve
from suite import BINARIES, MIB, ROOT, merge, program, say, steady

# Of the random-weight model: 16 layers, 1,024 wide, 16 heads on 4 of KV.
SHAPE = {"layers": 16, "hidden": 1024, "heads": 16, "kv-heads": 4, "intermediate": 2816, "vocabulary": 32000}


def run_transport():
    return merge("transport", {transport: steady("raw", "--transport", transport) for transport in ("local", "tcp", "tls", "ucx")})


@contextlib.contextmanager
def random_model():
    with tempfile.TemporaryDirectory(prefix="droidspeak-bench-") as folder:
        arguments = [part for name, value in SHAPE.items() for part in (f"--{name}", str(value))]
        subprocess.run([BINARIES / "droidspeak-bench", "random-model", "--out", folder, *arguments], check=True)
        yield pathlib.Path(folder)


def run_partial_prefill():
    with random_model() as model, Server(BINARIES, model, "512MiB", "tcp") as server:
        result = steady("prefill", "--model", model, "--servers", server.address, "--transport", "tcp")
    return result


def run_engine_on_random_model():
    with random_model() as model:
        return run_engine(model)


def run_serve_on_random_model():
    with random_model() as model:
        return run_serve(model)


def run_memory():
    """Fills a server with several times its pool while the random-weight model prefills from it.

    Over `local` a server maps what its clients register. Those pages are the clients' memory (they allocated them, and a
    container of theirs is charged for them), but count as resident in the server too: the load's region is taken off.
    """
    pool, tokens, load = 64 * MIB, 2048, 256 * MIB
    parts = {}
    for transport in ("local", "tcp", "ucx"):
        with random_model() as model, Server(BINARIES, model, pool, transport, spill=True) as server:
            weights = (model / "model.safetensors").stat().st_size
            prefill = [BINARIES / "droidspeak-bench", "prefill", "--model", model, "--servers", server.address,
                       "--transport", transport, "--context", tokens, "--repeats", 1, "--json"]
            engine = peak_bytes([str(part) for part in prefill])
            program("cache", "fetch", "--servers", server.address, "--transport", transport, "--layers", 16, "--blocks",
                    load // (16 * MIB), "--repeats", 1)
            mapped = load if transport == "local" else 0
            resident = server.peak_bytes() - mapped
        head = SHAPE["hidden"] // SHAPE["heads"]
        slab = SHAPE["layers"] * 2 * SHAPE["kv-heads"] * head * 2 * (tokens + 256)
        bounds = {"server": 1.1 * pool + 160 * MIB, "engine": 1.1 * (weights + slab) + 600 * MIB}
        peaks = {"server": resident, "engine": engine}
        parts[transport] = {
            **program("machine"), "settings": {"host_pool_bytes": pool, "weights_bytes": weights, "slab_bytes": slab,
                                                 "mapped_client_bytes": mapped},
            "results": [{"name": f"{who}, peak resident", "unit": "MiB", **dict.fromkeys(("median", "p25", "p75"), peak / MIB),
                         "samples": [peak / MIB]} for who, peak in peaks.items()],
            "ratios": {f"bound/{who}": bounds[who] / peak for who, peak in peaks.items()},
            "targets": {f"bound/{who}": 1.0 for who in peaks}}
    return merge("memory", parts)


def run_simulate():
    return program("simulate")


def run_spill():
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return steady("spill", "--folder", folder)


BENCHES = {"transport": run_transport, "cache": run_cache, "coverage": run_coverage, "peers": run_peers,
           "partial-prefill": run_partial_prefill, "engine": run_engine_on_random_model,
           "serve": run_serve_on_random_model, "memory": run_memory, "spill": run_spill, "simulate": run_simulate}
ON_REQUEST = ("peers", "engine")


def write_whole(path, text):
    """Replaces a file by a whole one, or leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (default: all but {', '.join(ON_REQUEST)})")
    names = parser.parse_args().names or [name for name in BENCHES if name not in ON_REQUEST]
    for name in names:
        if name not in BENCHES:
            parser.error(f"no benchmark {name!r}, expected {', '.join(BENCHES)}")
    page = ROOT / "docs" / "results.md"
    for name in names:
        say(f"{name} ...")
        result = BENCHES[name]()
        write_whole(ROOT / "build" / "bench" / f"{name}.json", json.dumps(result, indent=1) + "\n")
        write_whole(page, refresh(page.read_text() if page.exists() else "", list(BENCHES), result))
    say("build/bench has the figures, docs/results.md the tables")


if __name__ == "__main__":
    main()
