# SPDX-License-Identifier: Apache-2.0
"""Reference partial prefill: what an answer under a plan (a,b,c) is.

Context rows: layers [0,a) are recomputed by the receiver from its own embeddings, [a,b) take the
sender's K,V, [b,c) are recomputed from E_b, the sender's residual stream entering layer b, and
[c,L) take the sender's K,V. A recomputed layer attends to its own recomputed K,V. Suffix rows then
run through all layers of the receiver over this mixed cache. K is kept before RoPE and rotated by
the receiver, once per pass that it came from.

Contexts of a batch are padded on the right; padding is masked and never attended to.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from model import rope


@dataclass
class Contexts:
    """One model's pass over padded contexts: residual rows entering each layer, and K, V of each."""

    e: list
    k: list
    v: list


def canonical(a, b, c):
    if b == c:
        return (a, a, a)
    return (c, c, c) if a == b else (a, b, c)


def all_plans(layers):
    """Distinct plans, (0,0,0) full reuse first and (L,L,L) full prefill last."""
    triples = ((a, b, c) for a in range(layers + 1) for b in range(a, layers + 1) for c in range(b, layers + 1))
    return sorted({canonical(*t) for t in triples}, key=lambda p: (recomputed(p), p))


def recomputed(plan):
    a, b, c = plan
    return a + c - b


def run_layers(model, x, first):
    """Runs context rows x, entering layer `first`, to the top."""
    positions = torch.arange(x.shape[1])
    out = Contexts([None] * first, [None] * first, [None] * first)
    for layer in model.layers[first:]:
        k, v = layer.keys_values(x)
        for rows, new in ((out.e, x), (out.k, k), (out.v, v)):
            rows.append(new)
        if layer is model.layers[-1]:
            break  # nobody reads what leaves the last layer's context rows
        k = rope(k, positions, model.c.rope_theta)
        q = layer.queries(x, positions)
        x = layer.finish(x, F.scaled_dot_product_attention(q, layer.spread(k), layer.spread(v), is_causal=True))
    return out


def pad(rows):
    """Right-padded id matrix and lengths."""
    lengths = torch.tensor([len(r) for r in rows])
    return torch.tensor([r + [1] * (int(lengths.max()) - len(r)) for r in rows]), lengths


class PartialPrefill:
    """Contexts of one batch read by sender and receiver; gives the mixed cache of any plan.

    K,V of a recomputed layer depend only on where its run started, so one run per start serves all plans;
    each is made when first needed.
    """

    def __init__(self, receiver, sender, context_rows):
        self.receiver = receiver
        self.ids, self.lengths = pad(context_rows)
        self.sent = self._rotated(run_layers(sender, sender.embed_tokens(self.ids), 0))
        self._from = {}

    def _rotated(self, contexts):
        turn = lambda k: rope(k, torch.arange(k.shape[-2]), self.receiver.c.rope_theta)
        contexts.k = [None if k is None else turn(k) for k in contexts.k]
        return contexts

    def _run_from(self, start):
        if start not in self._from:
            x = self.sent.e[start] if start else self.receiver.embed_tokens(self.ids)
            self._from[start] = self._rotated(run_layers(self.receiver, x, start))
        return self._from[start]

    def cache(self, plan):
        """[(K after RoPE, V)] per layer."""
        a, b, c = plan
        source = lambda l: self._run_from(0) if l < a else self._run_from(b) if b <= l < c else self.sent
        return [(source(l).k[l], source(l).v[l]) for l in range(self.receiver.c.num_hidden_layers)]

    def swapped(self, layer):
        """The receiver's own cache with one layer's K,V from the sender (sensitivity)."""
        kv = self.cache((self.receiver.c.num_hidden_layers,) * 3)
        kv[layer] = (self.sent.k[layer], self.sent.v[layer])
        return kv


def attend_two(q, context, own, mask):
    """Attention of queries over two lists of (K, V) without joining or repeating them; mask spans both."""
    n, heads, rows, dim = q.shape
    span, kv_heads = context[0].shape[-2], context[0].shape[1]
    q = q.reshape(n, kv_heads, -1, dim)
    scores = torch.cat([q @ context[0].transpose(-1, -2), q @ own[0].transpose(-1, -2)], -1) * dim**-0.5
    weights = scores.view(n, heads, rows, -1).masked_fill(mask, -1e4).softmax(-1).view(scores.shape)
    return (weights[..., :span] @ context[1] + weights[..., span:] @ own[1]).view(n, heads, rows, dim)


def decode(model, cache, context_lengths, suffix_rows, new_tokens, eos=1):
    """Greedy answers (lists of ids, without EOS) and the logits after each suffix's last token."""
    ids, lengths = pad(suffix_rows)
    n, width = ids.shape
    theta, layers = model.c.rope_theta, model.layers
    span = cache[0][0].shape[-2]
    context_mask = (torch.arange(span) >= context_lengths[:, None])[:, None, None, :]
    own = [None] * len(layers)
    own_mask = torch.zeros(n, 1, 1, 0, dtype=torch.bool)
    positions = context_lengths[:, None] + torch.arange(width)
    causal = torch.ones(width, width, dtype=torch.bool).triu(1)
    padding = (torch.arange(width) >= lengths[:, None])[:, None, None, :]
    answers, done, first = [[] for _ in range(n)], torch.zeros(n, dtype=torch.bool), None
    for step in range(new_tokens):
        rows = ids.shape[1]
        own_mask = torch.cat([own_mask, padding], -1)
        mask = torch.cat([context_mask.expand(n, 1, rows, span), own_mask.expand(n, 1, rows, -1) | causal], -1)
        x = model.embed_tokens(ids)
        for l, layer in enumerate(layers):
            k, v = layer.keys_values(x)
            k = rope(k, positions, theta)
            own[l] = (k, v) if own[l] is None else (torch.cat([own[l][0], k], -2), torch.cat([own[l][1], v], -2))
            x = layer.finish(x, attend_two(layer.queries(x, positions), cache[l], own[l], mask))
        last = (lengths - 1) if step == 0 else torch.zeros(n, dtype=torch.long)
        logits = model.logits(x[torch.arange(n), last])
        first = logits if first is None else first
        chosen = logits.argmax(-1)
        done |= chosen == eos
        for i in range(n):
            if not done[i]:
                answers[i].append(int(chosen[i]))
        if done.all():
            break
        ids, positions = chosen[:, None], (context_lengths + lengths + step)[:, None]
        causal, padding = torch.zeros(1, 1, dtype=torch.bool), torch.zeros(n, 1, 1, 1, dtype=torch.bool)
    return answers, first
