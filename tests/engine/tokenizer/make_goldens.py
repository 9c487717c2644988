# SPDX-License-Identifier: Apache-2.0
"""Trains two small tokenizers and writes what Hugging Face's tokenizers makes of some texts: make_goldens.py [OUT].

Run once, with the Python package tokenizers 0.22; the tests read data/. One tokenizer is a byte-level BPE (as Llama 3's),
the other a BPE over characters with a blank's mark and byte fallback (as Llama 2's).
"""

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox doesn't.",
    "def fetch(block, layer):\n    return cache[block].layers[layer]  # KV and E\n",
    "for (int i = 0; i < count; ++i) { sum += values[i] * 2; }",
    "A cache server keeps the keys and values of every layer, so that another model need not compute them again.",
    "Die Größe des Blocks ist zweihundertsechsundfünfzig. Voilà, ça marche très bien.",
    "缓存服务器保存每一层的键和值。", "キャッシュサーバーは各層のキーと値を保存する。",
] * 4

TEXTS = [
    "", " ", "a", "Hello world", "  two  blanks  ", "line\nline\n\n\ttab\r\n", "The quick brown fox doesn't.",
    "def fetch(block):\n    return cache[block]  # KV\n", "if (a<=b && c!=d) { x = y->z[3]; }",
    "emoji 😀😁 and a family 👨‍👩‍👧‍👦, a flag 🇩🇪", "缓存服务器，层。", "キャッシュ と 漢字", "한국어 텍스트", "Größe café déjà",
    "cafe\u0301 combining", "<s>spelled out</s>", "before<|end|>after", "<|end|>", "a <|end|> b", "<0x41> is no byte",
    "\u00a0no-break\u2003em\u3000ideographic", "عربى עברית ไทย", "1234567890 3.14 1,000", "▁ mark ▁▁", "\ufffd replacement",
    "\u0000 nul \u007f", "𝒳 𐍈 math", "x" * 300, "word " * 60,
]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    tokenizer.add_tokens([AddedToken("spelled", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    tokenizer.enable_truncation(16)  # to be ignored, as transformers does
    return tokenizer


def byte_fallback():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    alphabet = [chr(c) for c in range(33, 127)] + ["▁"]
    tokenizer.train_from_iterator(CORPUS[:4] * 4, trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)],
        initial_alphabet=alphabet, limit_alphabet=100, max_token_length=12))
    # Bytes are ordinary entries of the vocabulary, not special tokens that a text could spell out.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return tokenizer


def goldens(tokenizer):
    tokenizer.no_truncation()
    rows = []
    for text in TEXTS:
        with_special = tokenizer.encode(text).ids
        rows.append({
            "text": text, "ids": with_special, "ids_plain": tokenizer.encode(text, add_special_tokens=False).ids,
            "decoded": tokenizer.decode(with_special, skip_special_tokens=False),
            "decoded_skip": tokenizer.decode(with_special, skip_special_tokens=True)})
    return {"vocabulary_size": tokenizer.get_vocab_size(), "tokens": [tokenizer.id_to_token(i) for i in range(320)],
            "texts": rows}


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "data")
    for name, tokenizer in (("byte_level", byte_level()), ("byte_fallback", byte_fallback())):
        (out / name).mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(out / name / "tokenizer.json"), pretty=False)
        (out / name / "goldens.json").write_text(json.dumps(goldens(tokenizer)) + "\n")


if __name__ == "__main__":
    main()
