# SPDX-License-Identifier: Apache-2.0
"""The suite `engine` of bench/run.py: prefill and decoding of one sequence, in turn with transformers on the same model."""

import json
import pathlib
import subprocess

from suite import ROOT, cache_folder, figure, program, say

TOKENS, DECODE = 2048, 32
REPEATS = 7
PREFILL_TARGET = 1.0  # of transformers


class Transformers:
    """transformers in a process of its own, with SDPA, in bf16, on as many threads as libtorch takes by itself."""

    def __init__(self, model):
        python = cache_folder() / "transformers" / "bin" / "python"
        driver = pathlib.Path(__file__).with_name("transformers_driver.py")
        self.process = subprocess.Popen([str(python), str(driver), str(model), str(TOKENS), str(DECODE)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("bench: the transformers driver ended; its message stands above")
        return json.loads(line)

    def round(self):
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def run_engine(model):
    """`model` is a checkpoint folder."""
    subprocess.run([ROOT / "deploy" / "bootstrap" / "setup.sh", "transformers"], check=True)
    theirs = Transformers(model)
    rounds, parts = [], []
    try:
        for number in range(-1, REPEATS):
            say(f"engine: round {number + 1} of {REPEATS}")
            round_of = theirs.round()
            part = program("engine", "--model", model, "--tokens", TOKENS, "--decode", DECODE, "--repeats", 1)
            if number >= 0:  # the first warms up
                rounds.append(round_of)
                parts.append(part)
    finally:
        theirs.stop()
    return combine(theirs.versions, rounds, parts)


def combine(versions, rounds, parts):
    """One object of rounds of both; each ratio is the median of the rounds' own."""
    result = dict(parts[0], ratios={}, results=[])
    result["versions"] = {**parts[0]["versions"], "transformers": versions["version"], "torch": versions["torch"]}
    for index, one in enumerate(parts[0]["results"]):
        result["results"].append(figure(one["name"], one["unit"], [part["results"][index]["median"] for part in parts]))
    for name, key in (("transformers: prefill", "prefill_ms"), ("transformers: decode, a token", "decode_ms")):
        result["results"].append(figure(name, "ms", [each[key] for each in rounds]))
    for ratio in parts[0]["ratios"]:
        result["ratios"][ratio] = figure("", "", [part["ratios"][ratio] for part in parts])["median"]
    for name, key, index in (("transformers/prefill", "prefill_ms", 0), ("transformers/decode", "decode_ms", 2)):
        samples = [each[key] / part["results"][index]["median"] for each, part in zip(rounds, parts, strict=True)]
        result["ratios"][name] = figure("", "", samples)["median"]
    result["targets"]["transformers/prefill"] = PREFILL_TARGET
    baseline = result["results"][1]  # products and attention
    result["settings"].update(repeats=REPEATS, threads=versions["threads"],
                              baseline_interquartile_share=(baseline["p75"] - baseline["p25"]) / baseline["median"])
    result["settings"]["valid"] = result["settings"]["baseline_interquartile_share"] <= 0.1
    return result
