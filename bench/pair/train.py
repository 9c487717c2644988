# SPDX-License-Identifier: Apache-2.0
"""Trains one model of the pair.

  train.py base  --seed 1 --out DIR            from the structured start, on sentences and one-hop questions
  train.py tuned --seed 2 --from DIR --out DIR from the base; embeddings and layer 0 stay as they are

Each document is a context with many questions. A question's rows see the context and the question
itself, at the positions they would have alone, so training asks exactly what evaluation asks.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import task
from model import Config, Llama, attend, rope, structured_start
from words import BOS, EOS, SPACE, build_tokenizer, save_tokenizer

STAGES = ((112, 16), (192, 16), (384, 16), (784, 8))  # context tokens, documents a batch
QUESTIONS = 16  # a document
ADVANCE_AT = 0.93  # accuracy at which the next stage starts
CONTEXT_LOSS = 0.1
FROZEN_LAYERS = 1  # lowest layers that fine-tuning leaves alone, with the embeddings


class Batches:
    """Token batches of one task: contexts [B,T] and, per document, Q questions [B,Q,S] with loss weights."""

    def __init__(self, seed, tuned, vocabulary):
        self.generator = task.Generator(seed)
        self.tuned = tuned
        self.vocabulary = vocabulary

    def ids(self, words):
        return [self.vocabulary[word.replace(" ", SPACE)] for word in words]

    def next(self, batch, context_tokens, questions):
        documents = [self.generator.document(self.tuned, context_tokens, questions) for _ in range(batch)]
        contexts = [self.ids([BOS, *d.context]) for d in documents]
        width = max(map(len, contexts))
        context = torch.tensor([c + [1] * (width - len(c)) for c in contexts])
        lengths = torch.tensor([len(c) for c in contexts])
        rows = [[(self.ids(task.suffix_words(q)), self.ids(task.answer_words(q))) for q in d.questions] for d in documents]
        width = max(len(q) + len(a) - 1 for r in rows for q, a in r)
        inputs = torch.ones(batch, questions, width, dtype=torch.long)
        targets = torch.full((batch, questions, width), -100)
        for i, row in enumerate(rows):
            for j, (question, answer) in enumerate(row):
                joined = question + answer
                inputs[i, j, : len(joined) - 1] = torch.tensor(joined[:-1])
                targets[i, j, len(question) - 1 : len(joined) - 1] = torch.tensor(answer)
        return context, lengths, inputs, targets


def branch_forward(model, context, lengths, inputs):
    """Logits of the context rows [B,T,V] and of the question rows [B,Q,S,V]."""
    b, t = context.shape
    _, q, s = inputs.shape
    c, theta = model.c, model.c.rope_theta
    context_positions = torch.arange(t)
    positions = (lengths[:, None] + torch.arange(s)).unsqueeze(1).expand(b, q, s)
    causal = torch.ones(t, t, dtype=torch.bool).triu(1)
    padding = (context_positions >= lengths[:, None])[:, None, None, None, :].expand(b, q, 1, s, t)
    own = torch.ones(s, s, dtype=torch.bool).triu(1).expand(b, q, 1, s, s)
    mask = torch.cat([padding, own], -1)
    x, y = model.embed_tokens(context), model.embed_tokens(inputs)
    for layer in model.layers:
        k, v = layer.keys_values(x)
        k, v = layer.spread(rope(k, context_positions, theta)), layer.spread(v)
        x_next = layer.finish(x, attend(layer.queries(x, context_positions), k, v, causal))
        own_k, own_v = layer.keys_values(y)
        own_k, own_v = layer.spread(rope(own_k, positions, theta)), layer.spread(own_v)
        scores = torch.cat([
            (layer.queries(y, positions).transpose(1, 2).flatten(2, 3) @ k.transpose(-1, -2)).unflatten(2, (q, s)).transpose(1, 2),
            layer.queries(y, positions) @ own_k.transpose(-1, -2)], -1) * c.head_dim**-0.5
        weights = scores.masked_fill(mask, -1e4).softmax(-1).to(v.dtype)
        on_context = (weights[..., :t].transpose(1, 2).flatten(2, 3) @ v).unflatten(2, (q, s)).transpose(1, 2)
        y = layer.finish(y, on_context + weights[..., t:] @ own_v)
        x = x_next
    return model.logits(x), model.logits(y)


def loss_and_accuracy(model, batch):
    """Answers count 1, context 0.1, question text 0; accuracy is over whole answers, teacher-forced."""
    context, lengths, inputs, targets = batch
    with torch.autocast("cpu", torch.bfloat16):
        on_context, on_questions = branch_forward(model, context, lengths, inputs)
    next_word = context[:, 1:].clone()
    next_word[torch.arange(1, context.shape[1]) >= lengths[:, None]] = -100
    context_loss = F.cross_entropy(on_context[:, :-1].flatten(0, 1).float(), next_word.flatten(), ignore_index=-100)
    logits = on_questions[targets != -100].float()
    answer_loss = F.cross_entropy(logits, targets[targets != -100])
    right = (on_questions.argmax(-1) == targets) | (targets == -100)
    return answer_loss + CONTEXT_LOSS * context_loss, right.all(-1).float().mean().item(), answer_loss.item()


def train(model, batches, arguments):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=arguments.lr, betas=(0.9, 0.98), weight_decay=0.01)
    stage, recent, started = 0, 0.0, time.time()
    for step in range(arguments.steps):
        decay = min(1.0, (arguments.steps - step) / (0.3 * arguments.steps))
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * min(1.0, (step + 1) / 30) * max(0.05, decay)
        tokens, batch = STAGES[stage]
        loss, accuracy, answer_loss = loss_and_accuracy(model, batches.next(batch, tokens, QUESTIONS))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        recent = 0.9 * recent + 0.1 * accuracy
        if step % 20 == 0:
            print(f"{step:5d} context {tokens} loss {answer_loss:.3f} accuracy {recent:.3f} "
                  f"{time.time() - started:.0f}s", flush=True)
        if recent > ADVANCE_AT and stage + 1 < len(STAGES):
            stage, recent = stage + 1, 0.0
        if step % 100 == 99:
            model.save(arguments.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["base", "tuned"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--from", dest="start", type=Path, help="the model to fine-tune")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--lr", type=float, default=4e-4)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer()
    if arguments.start:
        model = Llama.load(arguments.start)
        model.embed_tokens.requires_grad_(False)
        for layer in model.layers[: FROZEN_LAYERS]:
            layer.requires_grad_(False)
    else:
        model = structured_start(Config(vocab_size=tokenizer.get_vocab_size()), arguments.seed)
    train(model, Batches(arguments.seed, arguments.task == "tuned", tokenizer.get_vocab()), arguments)
    model.save(arguments.out)
    save_tokenizer(tokenizer, arguments.out)


if __name__ == "__main__":
    main()
