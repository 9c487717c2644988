# SPDX-License-Identifier: Apache-2.0
"""Reference evaluation of the shipped pair: plans chosen on the profile split, reported on the test split.

  evaluate.py [--models DIR] [--data DIR] [--out results.json]

Computes in fp32 on the shipped bf16 weights. `--check` verifies instead that sender = receiver gives the same
logits under every plan, and that transformers computes the same model.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

import plans
from model import Llama
from quality import f1, interval, relative_interval

HERE = Path(__file__).parent
BATCH = 16
WITHIN = 0.95  # of full prefill's F1


class Split:
    """Tokenised questions of one JSONL file and the scoring of answers to them."""

    def __init__(self, path, tokenizer, template):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        self.tokenizer, self.template = tokenizer, template
        self.answers = [row["answers"] for row in rows]
        part = lambda name, row, special: tokenizer.encode(template[name].format(**row), add_special_tokens=special).ids
        self.contexts = [part("context", row, True) for row in rows]
        self.suffixes = [part("suffix", row, False) for row in rows]
        joined = [tokenizer.encode((template["context"] + template["suffix"]).format(**row)).ids for row in rows]
        assert joined == [c + s for c, s in zip(self.contexts, self.suffixes)]

    def score(self, receiver, sender, wanted, whole_prompt=False):
        """{name: F1 per question}; wanted maps a name to prefill -> cache. whole_prompt: all but the last token is context."""
        scores = {name: [] for name in wanted}
        pairs = [(c + s[:-1], s[-1:]) if whole_prompt else (c, s) for c, s in zip(self.contexts, self.suffixes)]
        for start in range(0, len(pairs), BATCH):
            contexts, suffixes = zip(*pairs[start : start + BATCH])
            prefill = plans.PartialPrefill(receiver, sender, list(contexts))
            for name, cache_of in wanted.items():
                ids, _ = plans.decode(receiver, cache_of(prefill), prefill.lengths, list(suffixes),
                                      self.template["max_new_tokens"])
                for answer, truth in zip(ids, self.answers[start : start + BATCH]):
                    text = self.tokenizer.decode(answer)
                    for stop in self.template["stop"]:
                        text = text.split(stop)[0]
                    scores[name].append(f1(text, truth))
        return scores


def mean(scores):
    return round(sum(scores) / len(scores), 4)


def of_plan(plan):
    return lambda prefill: prefill.cache(plan)


def name_of(plan):
    return ",".join(map(str, plan))


def frontier(quality):
    """Plans better than every plan that recomputes as many layers or fewer."""
    best, kept = -1.0, []
    for plan in sorted(quality, key=lambda p: (plans.recomputed(p), -quality[p], p)):
        if quality[plan] > best:
            best = quality[plan]
            kept.append(plan)
    return kept


def choose(quality, layers):
    """The plans reported on the test split: cheapest within 5 % and, with E, best of at most half the layers."""
    full = quality[(layers,) * 3]
    enough = [p for p in frontier(quality) if quality[p] >= WITHIN * full]
    with_e = [p for p in quality if p[0] < p[1] < p[2] and 2 * plans.recomputed(p) <= layers]
    best_e = max(with_e, key=lambda p: (quality[p], -plans.recomputed(p)))
    same_cost = (plans.recomputed(best_e),) * 3  # from the bottom, as many layers as the plan with E
    return {"cheapest within 5 %": enough[0], "with E": best_e, "as many layers from the bottom": same_cost}


def evaluate(arguments):
    tokenizer = Tokenizer.from_file(str(arguments.models / "base" / "tokenizer.json"))
    template = json.loads(arguments.prompt.read_text())
    profile, test = (Split(arguments.data / f"{name}.jsonl", tokenizer, template) for name in ("profile", "test"))
    base, tuned, unrelated = (Llama.load(arguments.models / name) for name in ("base", "tuned", "unrelated"))
    layers = tuned.c.num_hidden_layers
    full = (layers,) * 3

    every = plans.all_plans(layers)
    scored = profile.score(tuned, base, {p: of_plan(p) for p in every})
    quality = {p: mean(scored[p]) for p in every}
    swaps = profile.score(tuned, base, {l: (lambda prefill, l=l: prefill.swapped(l)) for l in range(layers)})
    chosen = choose(quality, layers)

    reported = {"full prefill": full, "reuse of all layers": (0, 0, 0), **chosen}
    wanted = {name: of_plan(p) for name, p in reported.items()}
    scores = test.score(tuned, base, wanted)
    scores["reuse of the whole prompt"] = test.score(tuned, base, {0: of_plan((0, 0, 0))}, whole_prompt=True)[0]
    scores["base alone"] = test.score(base, base, {0: of_plan((0, 0, 0))})[0]
    stranger = test.score(tuned, unrelated, {name: of_plan(p) for name, p in reported.items() if p != full})
    scores |= {f"{name}, unrelated sender": s for name, s in stranger.items()}
    table = [{
        "name": name, "plan": name_of(reported[key]) if (key := name.removesuffix(", unrelated sender")) in reported else None,
        "f1": mean(s), "f1_ci95": interval(s), "relative_to_full": round(mean(s) / mean(scores["full prefill"]), 4),
        "relative_ci95": relative_interval(s, scores["full prefill"])} for name, s in scores.items()]
    return {
        "profile_contexts": len(profile.contexts), "test_questions": len(test.contexts),
        "context_tokens": {"min": min(map(len, test.contexts)), "max": max(map(len, test.contexts))},
        "dtype": "bf16 weights, fp32 arithmetic", "test": table,
        "profile": {"f1": {name_of(p): q for p, q in quality.items()},
                    "frontier": [{"plan": name_of(p), "recomputed": plans.recomputed(p), "f1": quality[p]} for p in frontier(quality)],
                    "layer_swapped_f1": [mean(swaps[l]) for l in range(layers)]},
    }


def check(arguments):
    tokenizer = Tokenizer.from_file(str(arguments.models / "base" / "tokenizer.json"))
    split = Split(arguments.data / "profile.jsonl", tokenizer, json.loads(arguments.prompt.read_text()))
    model = Llama.load(arguments.models / "tuned")
    contexts, suffixes = split.contexts[:4], split.suffixes[:4]
    expected = torch.stack([model(torch.tensor([c + s]))[0, -1] for c, s in zip(contexts, suffixes)])
    prefill, worst = plans.PartialPrefill(model, model, contexts), 0.0
    for plan in plans.all_plans(model.c.num_hidden_layers):
        _, logits = plans.decode(model, prefill.cache(plan), prefill.lengths, suffixes, 1)
        worst = max(worst, float((logits - expected).abs().max()))
    print(f"sender = receiver: largest logit difference over all plans {worst:.2e}")
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(arguments.models / "tuned", dtype=torch.float32)
    ids = torch.tensor([contexts[0] + suffixes[0]])
    far = float((theirs(ids).logits - model(ids)).abs().max())
    print(f"transformers: largest logit difference {far:.2e}")
    assert worst < 1e-3 and far < 1e-3


def print_tables(result):
    print("plan (profile)    layers  F1")
    for plan, quality in result["profile"]["f1"].items():
        print(f"{plan:16s}  {plans.recomputed(tuple(map(int, plan.split(',')))):6d}  {quality:.3f}")
    print("frontier:", "  ".join(f"{p['plan']}={p['f1']:.3f}" for p in result["profile"]["frontier"]))
    print("one layer's KV swapped:", result["profile"]["layer_swapped_f1"])
    for row in result["test"]:
        print(f"{row['name']:52s} {row['plan'] or '':8s} F1 {row['f1']:.3f} {row['f1_ci95']}  "
              f"of full {row['relative_to_full']:.3f} {row['relative_ci95']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=HERE / "models")
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--prompt", type=Path, default=HERE / "prompt.json")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with torch.no_grad():
        if arguments.check:
            check(arguments)
            return
        result = evaluate(arguments)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print_tables(result)


if __name__ == "__main__":
    main()
