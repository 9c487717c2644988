# SPDX-License-Identifier: Apache-2.0
"""A Llama of 8 layers for training and reference evaluation on a CPU, with its structured start.

Parameters carry Hugging Face's names. Attention is written out: for sequences this short a masked
softmax in bf16 is faster than torch's fused attention, and partial prefill needs its parts.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file


@dataclass
class Config:
    vocab_size: int
    hidden_size: int = 128
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 32
    intermediate_size: int = 384
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    max_position_embeddings: int = 1024

    def hugging_face(self):
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", **asdict(self),
            "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False,
            "bos_token_id": 0, "eos_token_id": 1, "dtype": "bfloat16", "torch_dtype": "bfloat16",
        }


def rope(x, positions, theta):
    """Rotates x [..., heads, tokens, head_dim] at positions [..., tokens] (Hugging Face's half split)."""
    half = x.shape[-1] // 2
    freq = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = positions.unsqueeze(-1).float() * freq
    cos, sin = angle.cos().unsqueeze(-3), angle.sin().unsqueeze(-3)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Layer(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.c = c
        self.input_layernorm = torch.nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
        self.post_attention_layernorm = torch.nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
        self.self_attn = torch.nn.ModuleDict({
            "q_proj": linear(c.hidden_size, c.num_attention_heads * c.head_dim),
            "k_proj": linear(c.hidden_size, c.num_key_value_heads * c.head_dim),
            "v_proj": linear(c.hidden_size, c.num_key_value_heads * c.head_dim),
            "o_proj": linear(c.num_attention_heads * c.head_dim, c.hidden_size)})
        self.mlp = torch.nn.ModuleDict({
            "gate_proj": linear(c.hidden_size, c.intermediate_size),
            "up_proj": linear(c.hidden_size, c.intermediate_size),
            "down_proj": linear(c.intermediate_size, c.hidden_size)})

    def keys_values(self, x):
        """K before RoPE and V of residual rows x, each [..., kv_heads, tokens, head_dim]."""
        h, c = self.input_layernorm(x), self.c
        split = lambda y: y.unflatten(-1, (c.num_key_value_heads, c.head_dim)).transpose(-3, -2)
        return split(self.self_attn.k_proj(h)), split(self.self_attn.v_proj(h))

    def queries(self, x, positions):
        c = self.c
        q = self.self_attn.q_proj(self.input_layernorm(x))
        return rope(q.unflatten(-1, (c.num_attention_heads, c.head_dim)).transpose(-3, -2), positions, c.rope_theta)

    def spread(self, kv):
        """Repeats KV heads to one per query head (grouped-query attention)."""
        return kv.repeat_interleave(self.c.num_attention_heads // self.c.num_key_value_heads, dim=-3)

    def finish(self, x, attended):
        """Residual rows leaving the layer; attended is [..., heads, tokens, head_dim]."""
        x = x + self.self_attn.o_proj(attended.transpose(-3, -2).flatten(-2))
        h = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(h)) * self.mlp.up_proj(h))


def attend(q, k, v, mask):
    """Masked softmax attention; mask is True where a row must not look."""
    scores = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(q.shape[-1]))
    return scores.masked_fill(mask, -1e4).softmax(-1).to(v.dtype) @ v


class Llama(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c = config
        self.embed_tokens = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = torch.nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = torch.nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def logits(self, x):
        return self.lm_head(self.norm(x))

    def forward(self, ids):
        """Logits [batch, tokens, vocab] of plain causal sequences."""
        n = ids.shape[1]
        positions = torch.arange(n)
        mask = torch.ones(n, n, dtype=torch.bool).triu(1)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            k, v = layer.keys_values(x)
            k = rope(k, positions, self.c.rope_theta)
            x = layer.finish(x, attend(layer.queries(x, positions), layer.spread(k), layer.spread(v), mask))
        return self.logits(x)

    def save(self, folder):
        """Writes config, generation config and bf16 weights in Hugging Face's layout."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        dump = lambda name, value: (folder / name).write_text(json.dumps(value, indent=2) + "\n")
        dump("config.json", self.c.hugging_face())
        dump("generation_config.json", {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False})
        weights = {name if name == "lm_head.weight" else f"model.{name}": value.detach().to(torch.bfloat16).contiguous()
                   for name, value in self.state_dict().items()}
        save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})

    @classmethod
    def load(cls, folder):
        folder = Path(folder)
        fields = json.loads((folder / "config.json").read_text())
        model = cls(Config(**{name: fields[name] for name in Config.__dataclass_fields__}))
        weights = load_file(str(folder / "model.safetensors"))
        model.load_state_dict({name.removeprefix("model."): value.float() for name, value in weights.items()})
        return model


def structured_start(config, seed):
    """A model that starts near in-context look-up, which training then sharpens.

    Layer 0: head h looks h+1 tokens back and copies what it sees, through one shared projection, into
    a subspace of its own. Layers 1-4: their first KV head finds keys by the word three tokens before,
    in RoPE's slow pairs, for queries that carry the name at themselves or a few tokens back, and
    copies the word found there. Layers 5-7 start as ordinary small noise.
    """
    generator = torch.Generator().manual_seed(seed)
    c, half = config, config.head_dim // 2
    slow = list(range(7, half))
    slow += [half + i for i in slow]
    normal = lambda *shape: torch.randn(*shape, generator=generator)
    orthogonal = lambda rows, columns: torch.linalg.qr(normal(columns, rows))[0].T.contiguous()
    model = Llama(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                depth = math.sqrt(2 * c.num_hidden_layers) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1
                p.copy_(normal(*p.shape) * (0.05 / depth))
        model.embed_tokens.weight.copy_(normal(c.vocab_size, c.hidden_size) * 0.5)
        model.embed_tokens.weight[:, 0] = 1.5  # the constant that position-only heads read
        model.lm_head.weight.copy_(0.1 * model.embed_tokens.weight)
        model.lm_head.weight[:, 0] = 0
        content, spaces = orthogonal(c.head_dim, c.hidden_size), orthogonal(c.hidden_size, c.hidden_size)
        content[:, 0] = 0
        _look_back(model.layers[0].self_attn, c, content, spaces)
        for layer, sources in zip(model.layers[1:5], [(4, 3), (0, 4), (4, 1), (3, 0)]):
            key_map = orthogonal(len(slow), c.head_dim)
            readers = {back: key_map @ (spaces[:, (back - 1) * 32 : back * 32].T if back else content) for back in range(5)}
            attention = layer.self_attn
            attention["k_proj"].weight[slow] = 2.0 * readers[3]
            copy = orthogonal(c.head_dim, c.hidden_size)
            attention["v_proj"].weight[: c.head_dim] = copy
            for head, back in enumerate(sources):
                rows = [head * c.head_dim + i for i in slow]
                attention["q_proj"].weight[rows] = 2.0 * readers[back]
                attention["o_proj"].weight[:, head * c.head_dim : (head + 1) * c.head_dim] = copy.T
    return model


def _look_back(attention, c, content, spaces):
    """Layer 0: a fixed key and, per head, that key turned back by 1..4 positions in the fast pairs."""
    half, fast, gain = c.head_dim // 2, 5, 3.0
    key = torch.zeros(c.head_dim)
    key[:fast] = gain
    attention["k_proj"].weight.zero_()
    attention["q_proj"].weight.zero_()
    for group in range(c.num_key_value_heads):
        attention["k_proj"].weight[group * c.head_dim : (group + 1) * c.head_dim, 0] = key
        attention["v_proj"].weight[group * c.head_dim : (group + 1) * c.head_dim] = content
    for head in range(c.num_attention_heads):
        turned = rope(key.view(1, 1, -1), torch.tensor([-(head + 1)]), c.rope_theta).flatten()
        attention["q_proj"].weight[head * c.head_dim : (head + 1) * c.head_dim, 0] = turned
    attention["o_proj"].weight.copy_(spaces)
    assert half > fast
