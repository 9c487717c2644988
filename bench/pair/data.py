# SPDX-License-Identifier: Apache-2.0
"""Writes the profile and test splits and the prompt template: data.py [--out DIR] [--context-tokens N]."""

import argparse
import json
from pathlib import Path

import task

SPLITS = {"profile": (101, 64), "test": (102, 352)}  # seed, questions; training uses seeds 1 to 4


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--context-tokens", type=int, default=784)
    arguments = parser.parse_args()
    for name, (seed, count) in SPLITS.items():
        task.write_jsonl(arguments.out / "data" / f"{name}.jsonl",
                         task.longbench_rows(seed, count, arguments.context_tokens, name))
    (arguments.out / "prompt.json").write_text(json.dumps(task.prompt_template()) + "\n")


if __name__ == "__main__":
    main()
