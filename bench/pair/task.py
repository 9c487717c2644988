# SPDX-License-Identifier: Apache-2.0
"""The question-answering task: shuffled facts about invented names, and questions about them.

A chain person -> item -> place -> ware gives three facts. The base model reads them as sentences and
answers one-hop questions. The tuned model also reads them as terse records, whose value stands at
another distance from the name, is asked in other words, and follows two hops, naming both.
Everything is made of one-token words, so that the text of a document is the concatenation of its tokens.
"""

import json
import random
from dataclasses import dataclass

from words import EOS, invented_names

LINKS = ("person", "item", "place", "ware")
RECORD_SHARE = 0.6  # of the tuned task's facts
TWO_HOP_SHARE = 0.6  # of the tuned task's questions

SENTENCES = {
    "person": [("{k}", " keeps", " the", "{v}", "."), ("{k}", " holds", " the", "{v}", ".")],
    "item": [(" the", "{k}", " lies", " in", "{v}", "."), (" the", "{k}", " rests", " in", "{v}", ".")],
    "place": [("{k}", " sells", " the", "{v}", ".")],
}
RECORD = ("{k}", ":", "{v}", ";")

BASE_QUESTIONS = {
    "person": (" What", " does", "{k}", " keep", "?"),
    "item": (" Where", " does", "{k}", " lie", "?"),
    "place": (" What", " does", "{k}", " sell", "?"),
}
TUNED_QUESTIONS = {
    "person": (" Which", " item", " belongs", " to", "{k}", "?"),
    "item": (" Which", " place", " contains", "{k}", "?"),
    "place": (" Which", " ware", " leaves", "{k}", "?"),
}
TWO_HOP_QUESTIONS = {
    "person": (" Which", " item", " and", " place", " belong", " to", "{k}", "?"),
    "item": (" Which", " place", " and", " ware", " go", " with", "{k}", "?"),
}
QUESTION_PREFIX, QUESTION_SUFFIX = (" Question", ":"), (" Answer", ":")


@dataclass
class Question:
    words: list  # without prefix and suffix
    answer: list  # without the end-of-text token


@dataclass
class Document:
    context: list
    questions: list


def _fill(template, key, value=None):
    return [key if w == "{k}" else value if w == "{v}" else w for w in template]


def _fact(rng, link, key, value, tuned):
    if tuned and rng.random() < RECORD_SHARE:
        return _fill(RECORD, key, value)
    return _fill(rng.choice(SENTENCES[link]), key, value)


def _question(rng, chain, tuned):
    if tuned and rng.random() < TWO_HOP_SHARE:
        i = rng.randrange(2)
        words = _fill(TWO_HOP_QUESTIONS[LINKS[i]], chain[i])
        return Question(words, [chain[i + 1], ",", chain[i + 2]])
    i = rng.randrange(3)
    forms = TUNED_QUESTIONS if tuned else BASE_QUESTIONS
    return Question(_fill(forms[LINKS[i]], chain[i]), [chain[i + 1]])


class Generator:
    """Makes documents; deterministic given the seed."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.names = invented_names()

    def document(self, tuned, context_tokens, questions):
        """A context of as many whole chains' facts as fit into `context_tokens`, BOS included."""
        rng = self.rng
        pools = {link: rng.sample(names, len(names)) for link, names in self.names.items()}
        chains, facts, used = [], [], 3  # BOS, "Notes", ":"
        while True:
            chain = [pools[link][len(chains)] for link in LINKS]
            new = [_fact(rng, LINKS[i], chain[i], chain[i + 1], tuned) for i in range(3)]
            size = sum(map(len, new))
            if used + size > context_tokens:
                break
            chains.append(chain)
            facts += new
            used += size
        rng.shuffle(facts)
        context = ["Notes", ":"] + [word for fact in facts for word in fact]
        asked = [_question(rng, rng.choice(chains), tuned) for _ in range(questions)]
        return Document(context, asked)


def suffix_words(question):
    return [*QUESTION_PREFIX, *question.words, *QUESTION_SUFFIX]


def prompt_template():
    return {"context": "{context}", "suffix": " Question: {input} Answer:", "max_new_tokens": 8, "stop": ["\n"]}


def longbench_rows(seed, count, context_tokens, name):
    """One question each for `count` contexts of the tuned task, in LongBench's fields."""
    generator = Generator(seed)
    rows = []
    for i in range(count):
        document = generator.document(True, context_tokens, 1)
        question = document.questions[0]
        context = "".join(document.context)
        rows.append({
            "input": "".join(question.words).strip(), "context": context,
            "answers": ["".join(question.answer).strip()], "length": len(context.split()),
            "dataset": "lookup", "language": "en", "all_classes": None, "_id": f"{name}-{i:04d}"})
    return rows


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answer_words(question):
    return [*question.answer, EOS]
