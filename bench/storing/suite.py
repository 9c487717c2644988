# SPDX-License-Identifier: Apache-2.0
"""The suite `serve` of bench/run.py: what storing costs the engine that serves."""

from suite import merge, steady

# Short turns, so that a machine which is slow for seconds is so for both kinds of answers.
TOKENS, ANSWER = 512, 16
ROUNDS = 60  # of two answers with storing and two without
ATTEMPTS = 2
KEEP_E = {"all": "KV and E of all layers", "4": "KV, and E of one layer"}


def run_serve(model):
    """`model` is a checkpoint folder. One request at a time: the cores do nothing else."""
    return merge("serve", {name: steady("storing", "--model", model, "--keep-e", keep_e, "--prompt-tokens", TOKENS,
                                        "--answer-tokens", ANSWER, "--repeats", ROUNDS, attempts=ATTEMPTS)
                           for keep_e, name in KEEP_E.items()})
