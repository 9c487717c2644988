# SPDX-License-Identifier: Apache-2.0
"""What the suites of benchmarks share: running droidspeak-bench, and putting its objects together."""

import json
import os
import pathlib
import subprocess
import sys

from server import environment

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARIES = ROOT / "build" / "bin"
MIB = 1 << 20
ATTEMPTS = 3  # of a run whose baseline varies too much


def cache_folder():
    """Where setup.sh puts what it fetches."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("DROIDSPEAK_CACHE") or pathlib.Path(base) / "droidspeak")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def program(*arguments):
    """Runs `droidspeak-bench ARGUMENTS --json` to its end and returns its object."""
    command = [str(BINARIES / "droidspeak-bench"), *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment())
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)} failed with exit code {done.returncode}")
    return json.loads(done.stdout)


def steady(*arguments, attempts=ATTEMPTS):
    """program(), repeated while the baseline varies too much; `valid` says whether the last one was steady."""
    for attempt in range(1, attempts + 1):
        result = program(*arguments)
        result["settings"]["valid"] = result["settings"]["baseline_interquartile_share"] <= 0.1
        if result["settings"]["valid"]:
            break
        say(f"the baseline of attempt {attempt} of {attempts} varies by more than 10 %")
    return result


def figure(name, unit, samples):
    """One entry of `results`, as droidspeak-bench makes it."""
    ranked = sorted(samples)

    def quantile(share):
        rank = share * (len(ranked) - 1)
        below = int(rank)
        above = min(below + 1, len(ranked) - 1)
        return ranked[below] + (rank - below) * (ranked[above] - ranked[below])

    return {"name": name, "unit": unit, "median": quantile(0.5), "p25": quantile(0.25), "p75": quantile(0.75),
            "samples": list(samples)}


def merge(name, parts):
    """One object of several: settings by part, figures under "PART: NAME", ratios and targets under "NAME, PART"."""
    first = next(iter(parts.values()))
    merged = {"bench": name, **{key: first[key] for key in ("machine", "versions", "date")}, "settings": {}, "results": [],
              "ratios": {}, "targets": {}}
    for part, result in parts.items():
        merged["versions"].update(result["versions"])
        merged["settings"][part] = result["settings"]
        merged["results"] += [{**each, "name": f"{part}: {each['name']}"} for each in result["results"]]
        for kind in ("ratios", "targets"):
            merged[kind].update({f"{ratio}, {part}": value for ratio, value in result[kind].items()})
    return merged
