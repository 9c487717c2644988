# SPDX-License-Identifier: Apache-2.0
"""The same prompt and answer by transformers: `transformers_driver.py MODEL TOKENS DECODE` says on its first line that it is
ready, then does a round for each line that it reads, and answers with a line of JSON: milliseconds of prefill, and of each token
behind it. Runs in the virtual environment of setup.sh transformers."""

import importlib.metadata
import json
import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM


@torch.inference_mode()
def round_of(model, tokens, decode):
    start = time.perf_counter()
    out = model(tokens, use_cache=True, logits_to_keep=1)
    prefill = time.perf_counter() - start
    cache = out.past_key_values
    token = torch.tensor([[1]])  # as droidspeak-bench begins
    start = time.perf_counter()
    for _ in range(decode):
        out = model(token, past_key_values=cache, use_cache=True)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        cache = out.past_key_values
    return {"prefill_ms": 1e3 * prefill, "decode_ms": 1e3 * (time.perf_counter() - start) / decode}


def main():
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not be taken for us
    folder, count, decode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, model.config.vocab_size, (1, count), generator=generator)
    print(json.dumps({"version": importlib.metadata.version("transformers"), "torch": torch.__version__,
                      "threads": torch.get_num_threads()}), file=out, flush=True)
    for _ in sys.stdin:
        print(json.dumps(round_of(model, tokens, decode)), file=out, flush=True)


main()
