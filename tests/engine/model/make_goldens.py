# SPDX-License-Identifier: Apache-2.0
"""Makes the tiny random checkpoints and golden logits that the engine's tests read (run once; the files are committed).

    python make_goldens.py OUT_DIR [CASE...]        needs torch and transformers

Each OUT_DIR/CASE holds a checkpoint as Hugging Face stores it and golden.safetensors:
  tokens           I32 [700]; a prompt of length N is its first N tokens
  rows.N           I64, positions that logits are kept for
  logits.N         F32 [rows, vocab], transformers in fp32 (eager attention)
  bf16_error.N     F32 [1], max |transformers in bf16 - fp32| over the same
  e, k, v          F32, the cache after 17 tokens: E [L,17,hidden], K before rotary and V [L,kv_heads,17,head_dim]
Adapters (CASE/adapter-NAME) have goldens of their own.
"""

import json
import math
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

LENGTHS = (1, 17, 255, 300, 700)
VOCAB = 128
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 128}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def longrope(pairs, **more):
    """Factors for so many pairs of dimensions, as different as those of Phi-3.5."""
    return {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1 + 0.05 * i for i in range(pairs)],
            "long_factor": [1.5 + 1.25 * i for i in range(pairs)], **more}


# dtype: as stored; old: spell config.json as transformers before version 5 did.
CASES = {
    "llama-mha-16": dict(heads=4, kv_heads=4, head_dim=16, rope=ROPE, dtype=torch.float32, old=True),
    "llama-gqa-64": dict(heads=2, kv_heads=1, head_dim=64, rope=LLAMA3, dtype=torch.bfloat16, tied=True),
    "llama-gqa-128-sharded": dict(heads=2, kv_heads=1, head_dim=128, rope=LLAMA3, dtype=torch.float16, old=True, shards=3),
    "llama-bias-linear": dict(heads=4, kv_heads=2, head_dim=16, dtype=torch.bfloat16, bias=True,
                              rope={"rope_type": "linear", "rope_theta": 50000.0, "factor": 4.0}),
    "mistral-window": dict(heads=4, kv_heads=2, head_dim=16, rope=ROPE, dtype=torch.bfloat16, window=50),
    "mistral-old": dict(heads=4, kv_heads=1, head_dim=16, rope={"rope_type": "default", "rope_theta": 1e6}, old=True,
                        dtype=torch.float32, window=None),
    "qwen2-window": dict(family="qwen2", heads=4, kv_heads=2, head_dim=16, rope={"rope_type": "default", "rope_theta": 1e6},
                         dtype=torch.bfloat16, window=50, tied=True),
    "qwen2-old": dict(family="qwen2", heads=4, kv_heads=1, head_dim=16, rope={"rope_type": "default", "rope_theta": 1e6},
                      dtype=torch.float32, window=None, old=True),
    "qwen3-tied": dict(family="qwen3", heads=4, kv_heads=2, head_dim=32, rope={"rope_type": "default", "rope_theta": 1e6},
                       dtype=torch.bfloat16, window=None, tied=True),
    "qwen3-bias": dict(family="qwen3", heads=2, kv_heads=1, head_dim=64, rope=ROPE, dtype=torch.float16, window=30,
                       bias=True),
    # 300 of 300 tokens are short, 300 of 299 long.
    "phi3-longrope": dict(family="phi3", heads=4, kv_heads=2, head_dim=16, rope=longrope(8), original=300, window=200,
                          dtype=torch.bfloat16, old=True),
    "phi3-partial": dict(family="phi3", heads=2, kv_heads=1, head_dim=32, original=299, dtype=torch.float16, tied=True,
                         rope=longrope(12, attention_factor=1.1, partial_rotary_factor=0.75), window=None),
    "phi3-default": dict(family="phi3", heads=4, kv_heads=4, head_dim=16, rope=ROPE, original=1024, dtype=torch.float32,
                         window=None),
    "llama-dynamic": dict(heads=4, kv_heads=2, head_dim=16, positions=280, dtype=torch.bfloat16, old=True,
                          rope={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 3.0}),
    "qwen2-yarn": dict(family="qwen2", heads=2, kv_heads=1, head_dim=32, window=None, positions=256, dtype=torch.bfloat16,
                       rope={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 256}),
    "mistral-yarn": dict(heads=4, kv_heads=2, head_dim=16, window=None, dtype=torch.bfloat16,
                         rope={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 20.0, "beta_slow": 2.0,
                               "mscale": 1.0, "mscale_all_dim": 0.8, "truncate": False,
                               "original_max_position_embeddings": 128}),
    "llama-longrope": dict(heads=4, kv_heads=2, head_dim=16, dtype=torch.bfloat16,
                           rope=longrope(8, factor=6.0, original_max_position_embeddings=256)),
}


def make_config(case):
    common = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                  num_attention_heads=case["heads"], num_key_value_heads=case["kv_heads"], head_dim=case["head_dim"],
                  max_position_embeddings=case.get("positions", 1024), rms_norm_eps=1e-5, tie_word_embeddings=case.get("tied", False),
                  rope_parameters=dict(case["rope"]), bos_token_id=1, eos_token_id=2)
    if "family" in case:
        config, kind = {"phi3": (Phi3Config, Phi3ForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM),
                        "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[case["family"]]
        if case["family"] == "phi3":
            common.pop("head_dim")
            return config(sliding_window=case["window"], original_max_position_embeddings=case["original"],
                          pad_token_id=0, **common), kind
        if case["family"] == "qwen2":
            common.pop("head_dim")
        else:
            common["attention_bias"] = case.get("bias", False)
        # The second of two layers has the window.
        return config(use_sliding_window=case["window"] is not None, sliding_window=case["window"] or 4096,
                      max_window_layers=1, **common), kind
    if "window" in case:
        return MistralConfig(sliding_window=case["window"], **common), MistralForCausalLM
    bias = case.get("bias", False)
    return LlamaConfig(attention_bias=bias, mlp_bias=bias, **common), LlamaForCausalLM


def randomize(model, dtype):
    """Random weights that make logits span several units, rounded to the dtype they will be stored in."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(1 + 0.1 * torch.randn_like(weight))
            elif name.endswith("bias"):
                weight.copy_(0.2 * torch.randn_like(weight))
            elif "embed_tokens" in name:
                weight.copy_(torch.randn_like(weight) * (0.35 if model.config.tie_word_embeddings else 1.0))
            else:
                weight.copy_(torch.randn_like(weight) * (2.5 if "lm_head" in name else 1.1) / math.sqrt(weight.shape[1]))
            weight.copy_(weight.to(dtype).float())


def save_config(model, out, case):
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    config["dtype"] = str(case["dtype"]).removeprefix("torch.")
    if case.get("old"):
        config["torch_dtype"] = config.pop("dtype")
        config.pop("layer_types", None)
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        if case.get("family") == "phi3":
            rope.pop("partial_rotary_factor")
            rope.pop("original_max_position_embeddings")
            kind = "su"
        config["rope_scaling"] = None if kind == "default" else {"rope_type" if kind == "llama3" else "type": kind, **rope}
    (out / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def save_weights(model, out, case):
    tensors = {name: weight.detach().to(case["dtype"]).clone().contiguous() for name, weight in model.named_parameters()}
    shards = case.get("shards", 1)
    if shards == 1:
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        return
    names, weight_map = sorted(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard::shards]
        weight_map.update({name: file for name in mine})
        save_file({name: tensors[name] for name in mine}, out / file, metadata={"format": "pt"})
    size = sum(t.nbytes for t in tensors.values())
    (out / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}, indent=1, sort_keys=True) + "\n")


def cache_of(model, tokens):
    """E, K before rotary and V of each layer, taken by hooks."""
    e, k, v = [], [], []
    hooks = []
    head_dim = getattr(model.config, "head_dim", None) or model.config.hidden_size // model.config.num_attention_heads
    heads = lambda x: x[0].reshape(x.shape[1], -1, head_dim).transpose(0, 1).clone()
    for layer in model.model.layers:
        hooks.append(layer.register_forward_pre_hook(lambda _, args, kwargs: e.append((args[0] if args else kwargs["hidden_states"])[0].clone()), with_kwargs=True))
        if hasattr(layer.self_attn, "qkv_proj"):
            kv_width = model.config.num_key_value_heads * head_dim
            def split(_, args, out):
                k.append(heads(out[..., -2 * kv_width:-kv_width]))
                v.append(heads(out[..., -kv_width:]))
            hooks.append(layer.self_attn.qkv_proj.register_forward_hook(split))
            continue
        if hasattr(layer.self_attn, "k_norm"):  # [batch, tokens, kv_heads, head_dim]
            hooks.append(layer.self_attn.k_norm.register_forward_hook(lambda _, args, out: k.append(out[0].transpose(0, 1).clone())))
        else:
            hooks.append(layer.self_attn.k_proj.register_forward_hook(lambda _, args, out: k.append(heads(out))))
        hooks.append(layer.self_attn.v_proj.register_forward_hook(lambda _, args, out: v.append(heads(out))))
    model(tokens[None])
    for hook in hooks:
        hook.remove()
    return {"e": torch.stack(e), "k": torch.stack(k), "v": torch.stack(v)}


def save_golden(model, tokens, path):
    exact = model.float()
    exact.set_attn_implementation("eager")
    golden = {"tokens": tokens.to(torch.int32)}
    for length in LENGTHS:
        rows = torch.tensor(sorted({0, length // 3, length - 2, length - 1} & set(range(length))))
        golden[f"rows.{length}"] = rows
        golden[f"logits.{length}"] = exact(tokens[None, :length]).logits[0, rows].contiguous()
    golden.update({name: t.contiguous() for name, t in cache_of(exact, tokens[:17]).items()})
    rounded = model.to(torch.bfloat16)
    # to() rounds the inverse frequencies too, which from_pretrained(dtype=bfloat16) does not.
    rounded.model.rotary_emb = type(rounded.model.rotary_emb)(rounded.config)
    rounded.set_attn_implementation("sdpa")
    for length in LENGTHS:
        logits = rounded(tokens[None, :length]).logits[0, golden[f"rows.{length}"]].float()
        golden[f"bf16_error.{length}"] = (logits - golden[f"logits.{length}"]).abs().max().reshape(1)
    save_file(golden, path)
    print(path, "logits", golden["logits.700"].std().item(), "bf16 error", golden["bf16_error.700"].item())


def make_case(out, name, case):
    out = out / name
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(sum(name.encode()))
    config, kind = make_config(case)
    model = kind(config).eval()
    randomize(model, case["dtype"])
    save_config(model, out, case)
    save_weights(model, out, case)
    tokens = torch.randint(0, VOCAB, (max(LENGTHS),))
    weights = {n: w.clone() for n, w in model.state_dict().items()}
    save_golden(model, tokens, out / "golden.safetensors")
    return model, weights, tokens


def make_adapter(out, model, weights, tokens, config, rank_of, alpha_of):
    """Writes a LoRA adapter as PEFT would, and the golden of the base with it merged. rank_of(layer, module) is 0 where the
    adapter leaves a module alone."""
    out.mkdir(parents=True, exist_ok=True)
    model = model.float()
    model.load_state_dict(weights)
    tensors = {}
    for layer, block in enumerate(model.model.layers):
        for module in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.qkv_proj", "self_attn.o_proj",
                       "mlp.gate_proj", "mlp.up_proj", "mlp.gate_up_proj", "mlp.down_proj"):
            if module.split(".")[1] not in dict(block.get_submodule(module.split(".")[0]).named_children()):
                continue
            rank = rank_of(layer, module)
            if rank == 0:
                continue
            weight = block.get_submodule(module).weight
            a = torch.randn(rank, weight.shape[1]) / math.sqrt(weight.shape[1])
            b = torch.randn(weight.shape[0], rank) * 0.12
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            tensors[prefix + ".lora_A.weight"], tensors[prefix + ".lora_B.weight"] = a, b
            scale = alpha_of(layer, module) / (math.sqrt(rank) if config.get("use_rslora") else rank)
            with torch.no_grad():
                weight += scale * (b @ a)
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    (out / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_golden(model, tokens, out / "golden.safetensors")


def make_fused_adapter(out, model, weights, tokens):
    """Of a model whose projections are stored as one."""
    torch.manual_seed(12)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 6,
              "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}
    make_adapter(out / "adapter-fused", model, weights, tokens, config, lambda layer, module: 4, lambda layer, module: 6)


def make_adapters(out, model, weights, tokens):
    base = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True, "modules_to_save": None,
            "use_dora": False, "fan_in_fan_out": False, "init_lora_weights": True, "layers_pattern": None}
    torch.manual_seed(11)
    # First match wins: the pattern of layer 1's q_proj stands before that of every q_proj.
    patterns = {**base, "r": 4, "lora_alpha": 6, "use_rslora": True, "layers_to_transform": None,
                "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
                "rank_pattern": {"layers.1.self_attn.q_proj": 2, "q_proj": 8, "mlp\\.(gate|up)_proj": 3},
                "alpha_pattern": {"layers\\.0\\..*v_proj": 3, "down_proj": 2}}

    def rank_of(layer, module):
        if module == "self_attn.q_proj":
            return 2 if layer == 1 else 8
        return 3 if module in ("mlp.gate_proj", "mlp.up_proj") else 4

    def alpha_of(layer, module):
        if module == "mlp.down_proj":
            return 2
        return 3 if module == "self_attn.v_proj" and layer == 0 else 6

    make_adapter(out / "adapter-patterns", model, weights, tokens, patterns, rank_of, alpha_of)
    layers = {**base, "r": 2, "lora_alpha": 4, "use_rslora": False, "layers_to_transform": [1], "rank_pattern": {},
              "alpha_pattern": {}, "target_modules": ".*\\.self_attn\\.(q|v)_proj"}
    wanted = ("self_attn.q_proj", "self_attn.v_proj")
    make_adapter(out / "adapter-layers", model, weights, tokens, layers,
                 lambda layer, module: 2 if layer == 1 and module in wanted else 0, lambda layer, module: 4)


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1])
    for name, case in CASES.items():
        if len(sys.argv) > 2 and name not in sys.argv[2:]:
            continue
        model, weights, tokens = make_case(out, name, case)
        if name in ("llama-mha-16", "qwen3-bias"):
            make_adapters(out / name, model, weights, tokens)
        if name == "phi3-longrope":
            make_fused_adapter(out / name, model, weights, tokens)


main()
