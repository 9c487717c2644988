# SPDX-License-Identifier: Apache-2.0
"""Writes F1 of some answers, computed as LongBench's metrics.py computes qa_f1_score: make_goldens.py [OUT]."""

import json
import re
import string
import sys
from collections import Counter
from pathlib import Path

CASES = [
    ("Paris", ["Paris"]), ("paris.", ["Paris"]), ("The city of Paris", ["Paris"]), ("London", ["Paris"]),
    ("", ["Paris"]), ("the", ["a"]), ("", [""]), ("a an the", ["the"]), ("Paris Paris", ["Paris"]),
    ("Paris Paris London", ["Paris Paris"]), ("red and blue", ["blue", "red and blue"]), ("An apple a day", ["apple day"]),
    ("anthem theory", ["them"]), ("well-known", ["wellknown"]), ("U.S.A.", ["usa"]), ("$1,000", ["1000"]),
    ("  blanks\t and\nlines ", ["blanks and lines"]), ("ÉCOLE", ["école"]), ("“the” answer", ["answer"]), ("the—end", ["end"]),
    ("éa", ["é"]), ("naïve the café", ["naïve café"]), ("東京 タワー", ["東京"]), ("no\u00a0break", ["no break"]),
    ("ΣΊΣΥΦΟΣ", ["σίσυφος"]), ("the_end", ["end"]), ("theend", ["the end"]), ("İstanbul", ["istanbul"]), ("it's a the dog", ["its dog"]),
    ("one two three four five", ["five four three"]), ("x" * 100, ["x" * 100]), ("a1 the2", ["1 2"]),
]


def normalize(text):
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(prediction, answer):
    prediction, answer = normalize(prediction).split(), normalize(answer).split()
    same = sum((Counter(prediction) & Counter(answer)).values())
    if same == 0:
        return 0
    precision, recall = same / len(prediction), same / len(answer)
    return 2 * precision * recall / (precision + recall)


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "data")
    out.mkdir(parents=True, exist_ok=True)
    rows = [{"prediction": p, "answers": a, "normalized": normalize(p), "f1": max(f1(p, x) for x in a)} for p, a in CASES]
    (out / "f1.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
