# SPDX-License-Identifier: Apache-2.0
"""The suite `peers` of bench/run.py: the same data set in other caches and in ours, in turn, on the same machine."""

import json
import pathlib
import select
import subprocess
import tempfile

from suite import MIB, ROOT, cache_folder, figure, program, say

PEERS = ("LMCache RESP + Redis", "LMCache server", "Redis, redis-py", "Mooncake", "InfiniStore")
REPEATS = 5
FEWEST_ROUNDS = 3  # of a peer that stopped answering, to be listed all the same
PATIENCE_SECONDS = 90  # for a round, which takes up to 10 s; one that hangs would hang the bench
LAYERS, BLOCKS = 32, 16  # of 1 MiB, as driver.py has them
OURS = {f"{transport}, {checksums}": ["--transport", transport, *flags] for transport in ("tcp", "local")
        for checksums, flags in (("no checksums", ["--no-checksum"]), ("checksums", []))}
# Figures of a round: what they are called, their unit, and what droidspeak-bench calls them.
FIGURES = {"get": ("GB/s", "fetch"), "get_cpu": ("s/GB", "fetch CPU, client and server"), "put": ("GB/s", "store"),
           "put_cpu": ("s/GB", "store CPU, client and server"), "layer0_ms": ("ms", "time to layer 0")}
TITLES = {"get": "fetch", "get_cpu": "fetch CPU, client and server", "put": "store",
          "put_cpu": "store CPU, client and server", "layer0_ms": "time to layer 0", "small_us": "4 KiB get, p50"}


def median(samples):
    return figure("", "", samples)["median"]


class Peer:
    """Another cache in processes of its own; `trouble` says why it is left out, once it is."""

    def __init__(self, name, log):
        self.name, self.version, self.trouble = name, "", None
        self.rounds = []
        python = cache_folder() / "peers" / "bin" / "python"
        self.process = subprocess.Popen([str(python), str(pathlib.Path(__file__).with_name("driver.py")), name],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.version = self._answer().get("version", "")

    def _answer(self):
        if not select.select([self.process.stdout], [], [], PATIENCE_SECONDS)[0]:
            self.process.kill()  # its servers end with it
        line = self.process.stdout.readline()
        silence = f"it ended, or did not answer within {PATIENCE_SECONDS} s, after {len(self.rounds)} rounds"
        answer = json.loads(line) if line else {"error": silence}
        if "error" in answer:
            self.trouble = answer["error"]
            say(f"peers: {self.name} is left out from here on: {self.trouble}")
        return answer

    def round(self, keep):
        if self.trouble is None:
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
            answer = self._answer()
            if self.trouble is None and keep:
                self.rounds.append({**answer, "small_us": median(answer["small_us"])})

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
        self.process.wait()


def our_round(arguments):
    """A round of ours in processes of their own, which warm up by themselves."""
    results = program("cache", "fetch", *arguments, "--layers", LAYERS, "--blocks", BLOCKS, "--extent", MIB, "--repeats", 2)
    medians = {each["name"]: each["median"] for each in results["results"]}
    single = program("cache", "fetch", *arguments, "--order", "single", "--extent", 4096, "--layers", 1, "--blocks", 500, "--repeats",
                     1)
    figures = {key: medians[name] for key, (_, name) in FIGURES.items()}
    return {**figures, "small_us": single["results"][0]["median"]}


def measure(log):
    """Rounds by name: of the peers, and of ours."""
    peers = [Peer(name, log) for name in PEERS]
    ours = {name: [] for name in OURS}
    try:
        for number in range(-1, REPEATS):
            say(f"peers: round {number + 1} of {REPEATS}")
            for peer in peers:
                peer.round(keep=number >= 0)
            for name, arguments in OURS.items():
                if number >= 0:
                    ours[name].append(our_round(arguments))
    finally:
        for peer in peers:
            peer.stop()
    return peers, ours


def compare(ran, ours):
    """Ratios and targets. The best peer is the one that fetches most; times are compared with the shortest of any peer."""
    def of(rounds, key):
        return median([each[key] for each in rounds])

    best = max(ran, key=lambda peer: of(peer.rounds, "get"))
    ratios, targets = {}, {}

    def add(name, value, target):
        ratios[name], targets[name] = value, target

    fetch_targets = {"tcp, no checksums": 1.3, "tcp, checksums": 1.1, "local, no checksums": 3, "local, checksums": 2}
    for name, rounds in ours.items():
        add(f"fetch/best peer, {name}", of(rounds, "get") / of(best.rounds, "get"), fetch_targets[name])
    rounds = ours["tcp, no checksums"]
    add("best peer's CPU/CPU, tcp, no checksums", of(best.rounds, "get_cpu") / of(rounds, "get_cpu"), 1 / 0.85)
    add("shortest time to layer 0/time to layer 0, tcp, no checksums",
        min(of(peer.rounds, "layer0_ms") for peer in ran) / of(rounds, "layer0_ms"), 1 / 0.8)
    add("shortest 4 KiB get/4 KiB get, tcp, no checksums",
        min(of(peer.rounds, "small_us") for peer in ran) / of(rounds, "small_us"), 1)
    # A store has checksums always; peers have none.
    add("store/best peer, tcp", of(rounds, "put") / max(of(peer.rounds, "put") for peer in ran), 1)
    return best, ratios, targets


def run_peers():
    subprocess.run([ROOT / "deploy" / "bootstrap" / "setup.sh", "peers"], check=True)
    with tempfile.TemporaryFile() as log:
        peers, ours = measure(log)
    ran = [peer for peer in peers if len(peer.rounds) >= FEWEST_ROUNDS]
    machine = program("machine")
    settings = {"layers": LAYERS, "blocks": BLOCKS, "extent_bytes": MIB, "repeats": REPEATS}
    settings.update({f"trouble: {peer.name}": peer.trouble for peer in peers if peer.trouble is not None})
    results = []
    everything = {**{peer.name: peer.rounds for peer in ran}, **{f"ours, {name}": rounds for name, rounds in ours.items()}}
    for name, rounds in everything.items():
        for key, title in TITLES.items():
            unit = FIGURES[key][0] if key in FIGURES else "us"
            results.append(figure(f"{name}: {title}", unit, [each[key] for each in rounds]))
    ratios, targets = {}, {}
    if ran:
        best, ratios, targets = compare(ran, ours)
        gets = figure("", "", [each["get"] for each in best.rounds])
        settings["best peer"] = best.name
        settings["baseline_interquartile_share"] = (gets["p75"] - gets["p25"]) / gets["median"]
        settings["valid"] = settings["baseline_interquartile_share"] <= 0.1
    versions = {**machine["versions"], **{peer.name: peer.version for peer in peers if peer.version}}
    return {**machine, "bench": "peers", "versions": versions, "settings": settings, "results": results, "ratios": ratios,
            "targets": targets}
