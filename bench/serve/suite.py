# SPDX-License-Identifier: Apache-2.0
"""The suite `serve` of bench/run.py: what storing costs the engine that serves."""

import json
import subprocess

from server import Server, environment
from suite import BINARIES, ROOT, merge, steady

TOKENS, ANSWER = 2048, 64
ROUNDS = 15
ATTEMPTS = 2
TTFT_TARGET, TPOT_TARGET = 1 / 1.03, 1 / 1.02  # of an engine that stores nothing
KEEP_E = {"all": "KV and E of all layers", "4": "KV, and E of one layer"}


class Engine:
    """`droidspeak-engine serve` on loopback. Stops with SIGTERM at the end of a `with` block."""

    def __init__(self, model, *arguments):
        command = [BINARIES / "droidspeak-engine", "--log-level", "warn", "serve", "--json", "--model", model, "--http",
                   "127.0.0.1:0", "--kv-memory", "512MiB", *arguments]
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, env=environment())
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the engine did not start; its message is above")
        self.address = json.loads(line)["http"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        finally:
            self.process.kill()


def run_serve(model):
    """`model` is a checkpoint folder with the shipped pair's tokenizer. One request at a time: the cores do nothing else."""
    parts = {}
    for keep_e, name in KEEP_E.items():
        for _ in range(ATTEMPTS):  # with new engines: these prompts have been read
            with Server(BINARIES, model, "6GiB", "auto") as server, Engine(model) as none, \
                    Engine(model, "--servers", server.address, "--keep-e", keep_e) as stores:
                part = steady("serve", "--engine", f"none={none.address}", "--engine", f"stores={stores.address}",
                              "--prompt-tokens", TOKENS, "--answer-tokens", ANSWER, "--num-prompts", 2, "--max-concurrency", 1,
                              "--vocabulary", vocabulary(), "--repeats", ROUNDS, attempts=1)
            if part["settings"]["valid"]:
                break
        part["targets"] = {"none/stores, TTFT": TTFT_TARGET, "none/stores, TPOT": TPOT_TARGET}
        parts[name] = part
    return merge("serve", parts)


def tokenizer():
    """Of the models that the demo uses."""
    return ROOT / "bench" / "pair" / "models" / "tuned"


def vocabulary():
    return json.loads((tokenizer() / "config.json").read_text())["vocab_size"]
