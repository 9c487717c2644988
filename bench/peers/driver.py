# SPDX-License-Identifier: Apache-2.0
"""One other cache, client and server: `driver.py NAME` says on its first line that it is ready, then does a round of the data
set for each line that it reads, and answers with a line of JSON. Runs in the virtual environment of setup.sh peers."""

import importlib.metadata
import json
import os
import random
import sys
import tempfile
import time

from clients import CLIENTS

LAYERS, BLOCKS, ITEM_BYTES = 32, 16, 1 << 20
SMALL_BYTES, SMALL_ITEMS = 4096, 500
TOTAL_BYTES = LAYERS * BLOCKS * ITEM_BYTES


class Cpu:
    """Processor time of this process and the servers."""

    def __init__(self, servers):
        self.servers = servers

    def seconds(self):
        return time.process_time() + self.servers.cpu_seconds()


def layers_of(view):
    """Keys and memory, layer by layer."""
    return [([f"large/{layer}/{block}" for block in range(BLOCKS)],
             [view[(layer * BLOCKS + block) * ITEM_BYTES:][:ITEM_BYTES] for block in range(BLOCKS)]) for layer in range(LAYERS)]


def round_of(client, cpu, source, target):
    gigabytes = TOTAL_BYTES / 1e9
    puts, gets = layers_of(source), layers_of(target)
    client.clear()
    target[:] = bytes(TOTAL_BYTES)
    used, start = cpu.seconds(), time.perf_counter()
    client.put_layers(puts)
    put_seconds, put_cpu = time.perf_counter() - start, cpu.seconds() - used
    first = []
    used, start = cpu.seconds(), time.perf_counter()
    client.get_layers(gets, lambda: first.append(time.perf_counter() - start))
    get_seconds, get_cpu = time.perf_counter() - start, cpu.seconds() - used
    if target != source:
        raise RuntimeError("what was fetched is not what was stored")
    return {"put": gigabytes / put_seconds, "put_cpu": put_cpu / gigabytes, "get": gigabytes / get_seconds,
            "get_cpu": get_cpu / gigabytes, "layer0_ms": 1e3 * first[0], "small_us": small_gets(client, source, target)}


def small_gets(client, source, target):
    """Gets of 4 KiB one after the other; those whose answers wait for a timer take too long for all of them."""
    keys = [f"small/{item}" for item in range(SMALL_ITEMS)]
    client.put_layers([(keys, [source[item * SMALL_BYTES:][:SMALL_BYTES] for item in range(SMALL_ITEMS)])])
    random.shuffle(keys)
    times, end = [], time.perf_counter() + 2
    for key in keys:
        start = time.perf_counter()
        client.get_one(key, target[:SMALL_BYTES])
        times.append(1e6 * (time.perf_counter() - start))
        if time.perf_counter() > end:
            break
    return times


def main():
    kind = CLIENTS[sys.argv[1]]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # clients that print must not be taken for us
    source = memoryview(bytearray(os.urandom(TOTAL_BYTES)))
    target = memoryview(bytearray(TOTAL_BYTES))
    servers = None
    with tempfile.TemporaryDirectory(prefix="droidspeak-peer-") as folder:
        try:
            servers = kind.server(os.path.join(folder, "log"))
            client = kind(servers)
            if hasattr(client, "register"):
                client.register(source)
                client.register(target)
            print(json.dumps({"version": importlib.metadata.version(kind.version_of)}), file=out, flush=True)
            for _ in sys.stdin:
                print(json.dumps(round_of(client, Cpu(servers), source, target)), file=out, flush=True)
        except Exception as error:  # of whatever library: it is said, and this one is left out
            print(json.dumps({"error": f"{error}"}), file=out, flush=True)
        finally:
            if servers is not None:
                servers.stop()
    os._exit(0)  # some of the libraries do not come to an end


if __name__ == "__main__":
    main()
