# SPDX-License-Identifier: Apache-2.0
"""The words of the task and the byte-level BPE tokenizer in which each of them is one token.

The merges are written down rather than learnt from a corpus, so that every word is one token with
certainty: first the function words, letter by letter, then the syllables, then the invented names.
"""

import itertools
import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

BOS, EOS = "<s>", "</s>"
SPACE = "\u0120"  # how byte-level BPE writes a blank

FUNCTION_WORDS = [
    " keeps", " holds", " lies", " rests", " in", " sells", " the", " What", " Where", " does",
    " keep", " lie", " sell", " Question", " Answer", " Which", " item", " place", " ware", " and",
    " belongs", " belong", " to", " go", " with", " contains", " leaves", " of",
]
FIRST_WORDS = ["Notes"]  # starts a context, without a blank before it
UPPER = ["Bo", "Da", "Fe", "Gu", "Ha", "Jo", "Ki", "Lu", "Me", "Pa", "Ri", "Si", "Tu", "Va", "Ye", "Zo"]
LOWER = ["ba", "do", "fu", "ge", "hi", "ja", "ko", "le", "mu", "po", "ru", "sa", "te", "vo", "yi", "za"]
ENDINGS = ["bra", "den", "fil", "gor", "kum", "lan", "mis", "nok", "pet", "ral", "sun", "tiv", "vek", "wor", "xan", "zil"]
PER_CLASS = 80  # people and places share the upper-case names, items and wares the lower-case ones


def invented_names():
    """Returns {class: [" Name", ...]}: four disjoint lists in an arbitrary but fixed order."""
    rng = random.Random(7)
    upper = [f" {a}{b}" for a, b in itertools.product(UPPER, ENDINGS)]
    lower = [f" {a}{b}" for a, b in itertools.product(LOWER, ENDINGS)]
    rng.shuffle(upper)
    rng.shuffle(lower)
    n = PER_CLASS
    return {"person": upper[:n], "place": upper[n : 2 * n], "item": lower[:n], "ware": lower[n : 2 * n]}


def _merges():
    """All merges in rank order; a word's pieces are joined from the left."""
    merges = []

    def join(pieces):
        left = pieces[0]
        for right in pieces[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
            left += right

    for word in FUNCTION_WORDS + FIRST_WORDS:
        join(list(word.replace(" ", SPACE)))
    for syllable in UPPER + LOWER:
        join([SPACE, *syllable])
    for ending in ENDINGS:
        join(list(ending))
    for word in itertools.chain(*invented_names().values()):
        join([SPACE + word[1:3], word[3:]])
    return merges


def build_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {BOS: 0, EOS: 1}
    merges = _merges()
    for token in alphabet + [a + b for a, b in merges]:
        vocab.setdefault(token, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.add_special_tokens([BOS, EOS])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 0)])
    for word in itertools.chain(FUNCTION_WORDS, FIRST_WORDS, *invented_names().values()):
        ids = tokenizer.encode(word, add_special_tokens=False).ids
        if len(ids) != 1:
            raise AssertionError(f"{word!r} is {len(ids)} tokens")
    return tokenizer


def save_tokenizer(tokenizer, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": True, "add_eos_token": False, "bos_token": BOS, "eos_token": EOS,
        "clean_up_tokenization_spaces": False, "model_max_length": 1024,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
