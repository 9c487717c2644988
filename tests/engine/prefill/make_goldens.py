#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes testdata/: tiny senders and receivers, and what plans answer, by transformers' modules in fp32.

The reference goes through the layers once, all rows together, so that it shares nothing with the engine's two phases:
in a recomputed layer the context's rows move on, in a reused one they stand still and lend the sender's K and V.
Run with a Python that has torch and transformers; the files are committed.
"""
import json
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)
from transformers.models.phi3.modeling_phi3 import apply_rotary_pos_emb  # that of all, and of partly rotated heads

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testdata")
LENGTH, CONTEXT, LAYERS = 61, 40, 4
PLANS = ["0,0,0", "1,1,1", "3,3,3", "0,1,2", "0,1,4", "0,3,4", "1,2,3", "1,3,4", "2,3,4", "0,0,4"]
RUNS = ["1-2", "3-4", "1-2,3-4", "0-1,1-3", "1-2,2-4"]
SIZES = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5)


def rope(kind, theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def longrope(original, pairs=4, **more):
    return dict(original_max_position_embeddings=original, pad_token_id=0,
                rope_parameters=rope("longrope", short_factor=[1 + 0.1 * i for i in range(pairs)],
                                     long_factor=[2.0 + 1.5 * i for i in range(pairs)], **more))


# name: config, model, what both have, what the sender has, what the receiver has. Sequences have 61 tokens, 40 of them context:
# with an original length of 48 the context alone would be rotated in another way than with the rest.
WINDOW = dict(use_sliding_window=True, sliding_window=24, max_window_layers=2)
PAIRS = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, dict(tie_word_embeddings=True, **WINDOW),
              dict(rope_parameters=rope("default", 1e6)),
              dict(rope_parameters=rope("yarn", 1e6, factor=4.0, original_max_position_embeddings=64))),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, dict(head_dim=16, tie_word_embeddings=False),
              dict(rope_parameters=rope("default", 1e6)), dict(rope_parameters=rope("default", 50000.0))),
    "phi3-short": (Phi3Config, Phi3ForCausalLM, dict(tie_word_embeddings=False), longrope(61), longrope(64)),
    "phi3-long": (Phi3Config, Phi3ForCausalLM, dict(tie_word_embeddings=True), longrope(48),
                  longrope(48, pairs=2, partial_rotary_factor=0.5)),
    "phi3-mixed": (Phi3Config, Phi3ForCausalLM, dict(tie_word_embeddings=True, sliding_window=50), longrope(64),
                   longrope(60)),
    "dynamic": (LlamaConfig, LlamaForCausalLM, dict(tie_word_embeddings=False),
                dict(rope_parameters=rope("dynamic", factor=3.0)), dict(rope_parameters=rope("dynamic", factor=2.0))),
}


def randomize(model, seed, base=None, drift=0.3):
    """Weights of `seed`, or a drifted copy of `base`'s; of few bits, so that files in bf16 lose nothing."""
    generator = torch.Generator().manual_seed(seed)
    theirs = dict(base.named_parameters()) if base is not None else {}
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        gain = 2.0 if "q_proj" in name or "k_proj" in name or "lm_head" in name else 1.0
        scale = 0.4 if "embed" in name else gain / weight.shape[-1] ** 0.5
        value = 1 + 0.1 * noise if weight.dim() == 1 else scale * noise
        if name in theirs:
            value = (1 - drift) * theirs[name] + drift * value
        weight.data = value.bfloat16().float()
    return model.eval()


def adapt(model, folder, seed):
    """Writes a LoRA adapter for the model and merges it into its weights."""
    generator = torch.Generator().manual_seed(seed)
    tensors, rank, alpha = {}, 4, 8
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "v_proj", "down_proj")):
            out, width = module.weight.shape
            a = (0.2 * torch.randn(rank, width, generator=generator)).contiguous()
            b = (0.2 * torch.randn(out, rank, generator=generator)).contiguous()
            tensors[f"base_model.model.{name}.lora_A.weight"] = a
            tensors[f"base_model.model.{name}.lora_B.weight"] = b
            module.weight.data = module.weight.data + alpha / rank * b @ a
    os.makedirs(folder)
    save_file(tensors, os.path.join(folder, "adapter_model.safetensors"))
    with open(os.path.join(folder, "adapter_config.json"), "w") as file:
        json.dump({"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none",
                   "target_modules": ["q_proj", "v_proj", "down_proj"]}, file)


def save(model, folder):
    os.makedirs(folder)
    tensors = {name: weight.data.bfloat16().contiguous() for name, weight in model.named_parameters()}
    save_file(tensors, os.path.join(folder, "model.safetensors"))
    model.config.save_pretrained(folder)


def project(model, index, x):
    """q, k (before RoPE) and v [rows, width] of rows that enter a layer."""
    layer, config = model.model.layers[index], model.config
    attention, normed = layer.self_attn, layer.input_layernorm(x)
    if hasattr(attention, "qkv_proj"):
        kv = config.num_key_value_heads * attention.head_dim
        return attention.qkv_proj(normed).split([config.num_attention_heads * attention.head_dim, kv, kv], -1)
    q, k, v = attention.q_proj(normed), attention.k_proj(normed), attention.v_proj(normed)
    if hasattr(attention, "q_norm"):
        q, k = (norm(t.view(len(t), -1, attention.head_dim)).flatten(1)
                for norm, t in ((attention.q_norm, q), (attention.k_norm, k)))
    return q, k, v


def sender_cache(model, tokens, context):
    """E, pre-RoPE K and V of every layer for the context's rows of the sequence."""
    entering = []
    hooks = [layer.register_forward_pre_hook(lambda m, a, k: entering.append(a[0][0]), with_kwargs=True)
             for layer in model.model.layers]
    model(tokens[None])  # all of it: the RoPE may depend on the length
    for hook in hooks:
        hook.remove()
    cache = []
    for index, e in enumerate(entering):
        _, k, v = project(model, index, e[:context])
        cache.append({"E": e[:context], "K": k, "V": v})
    return cache


def heads(x, count):
    return x.view(x.shape[0], count, -1).transpose(0, 1)[None]


def window_of(config, index):
    types = getattr(config, "layer_types", None)
    sliding = types[index] == "sliding_attention" if types else True
    return getattr(config, "sliding_window", None) if sliding else None


def layer_step(model, index, x, positions, q, k, v):
    """One decoder layer for rows x at `positions`, over keys k (pre-RoPE) and values v of positions 0..len(k)."""
    layer, config = model.model.layers[index], model.config
    window = window_of(config, index)
    q = heads(q, config.num_attention_heads)
    every = torch.arange(k.shape[0])
    cos, sin = model.model.rotary_emb(x[None], every[None])
    _, k = apply_rotary_pos_emb(heads(k, config.num_key_value_heads), heads(k, config.num_key_value_heads), cos, sin)
    q, _ = apply_rotary_pos_emb(q, q, cos[:, positions], sin[:, positions])
    groups = config.num_attention_heads // config.num_key_value_heads
    k, v = k.repeat_interleave(groups, 1), heads(v, config.num_key_value_heads).repeat_interleave(groups, 1)
    distance = positions[:, None] - every[None, :]
    seen = (distance >= 0) & (distance < window if window else torch.ones_like(distance, dtype=bool))
    scores = (q @ k.transpose(2, 3)) / q.shape[-1] ** 0.5
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    x = x + layer.self_attn.o_proj((weights @ v)[0].transpose(0, 1).reshape(x.shape[0], -1))
    return x + layer.mlp(layer.post_attention_layernorm(x))


def answer(model, tokens, context, cache, runs):
    """Logits of the rows after the context under a plan."""
    rows = torch.arange(len(tokens))
    x = model.model.embed_tokens(tokens)
    old, new = x[:context], x[context:]
    for index in range(LAYERS):
        run = next((r for r in runs if r[0] <= index < r[1]), None)
        if run is not None and index == run[0] and index > 0:
            old = cache[index]["E"]
        if run is not None:
            both = torch.cat([old, new])
            both = layer_step(model, index, both, rows, *project(model, index, both))
            old, new = both[:context], both[context:]
        else:
            q, k, v = project(model, index, new)
            new = layer_step(model, index, new, rows[context:], q, torch.cat([cache[index]["K"], k]),
                             torch.cat([cache[index]["V"], v]))
    return model.lm_head(model.model.norm(new))


def runs_of(text):
    if "-" in text:
        return [tuple(map(int, part.split("-"))) for part in text.split(",")]
    a, b, c = map(int, text.split(","))
    return [(0, c)] if a == b else [run for run in ((0, a), (b, c)) if run[0] < run[1]]


@torch.no_grad()
def make(name, sender, receiver, goldens):
    tokens = torch.randint(0, SIZES["vocab_size"], (LENGTH,), generator=torch.Generator().manual_seed(7))
    full = receiver(tokens[None]).logits[0]
    own = sender_cache(receiver, tokens, CONTEXT)
    check = answer(receiver, tokens, CONTEXT, own, [(1, 3)])
    assert (check - full[CONTEXT:]).abs().max() < 2e-5, "the reference is wrong"
    cache = sender_cache(sender, tokens, CONTEXT)
    goldens[f"{name}.tokens"] = tokens
    goldens[f"{name}.full"] = full[CONTEXT:].contiguous()
    for plan in PLANS + RUNS:
        logits = answer(receiver, tokens, CONTEXT, cache, runs_of(plan))
        print(name, plan, f"{(logits - full[CONTEXT:]).abs().max():.3f} from full")
        goldens[f"{name}@{plan}"] = logits.contiguous()


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    goldens = {}
    sender = randomize(LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)), 1)
    receiver = randomize(LlamaForCausalLM(LlamaConfig(
        **SIZES, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="llama3", rope_theta=50000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=64))), 2, base=sender)
    save(sender, os.path.join(HERE, "llama-sender"))
    save(receiver, os.path.join(HERE, "llama-receiver"))
    make("llama", sender, receiver, goldens)

    mistral = dict(SIZES, sliding_window=24, tie_word_embeddings=True)
    sender = randomize(MistralForCausalLM(MistralConfig(**mistral, rope_parameters=dict(rope_type="default", rope_theta=10000.0))), 3)
    receiver = randomize(MistralForCausalLM(MistralConfig(**mistral, rope_parameters=dict(rope_type="default", rope_theta=1e6))), 4,
                         base=sender)
    save(sender, os.path.join(HERE, "mistral-sender"))
    save(receiver, os.path.join(HERE, "mistral-receiver"))
    adapt(receiver, os.path.join(HERE, "mistral-adapter"), 5)
    make("mistral", sender, receiver, goldens)

    for name, (config, kind, common, of_sender, of_receiver) in PAIRS.items():
        seed = sum(name.encode())
        sizes = dict(SIZES, max_position_embeddings=48) if name == "dynamic" else SIZES
        sender = randomize(kind(config(**sizes, **common, **of_sender)), seed)
        receiver = randomize(kind(config(**sizes, **common, **of_receiver)), seed + 1, base=sender)
        save(sender, os.path.join(HERE, f"{name}-sender"))
        save(receiver, os.path.join(HERE, f"{name}-receiver"))
        make(name, sender, receiver, goldens)
    save_file(goldens, os.path.join(HERE, "goldens.safetensors"))


if __name__ == "__main__":
    main()
