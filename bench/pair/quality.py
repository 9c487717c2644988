# SPDX-License-Identifier: Apache-2.0
"""LongBench F1 and bootstrap intervals."""

import re
import string
from collections import Counter

import numpy as np

RESAMPLES = 10000


def normalise(text):
    text = "".join(ch for ch in text.lower() if ch not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(prediction, answers):
    """Best multiset F1 over the answers, 0..1."""

    def one(answer):
        p, a = normalise(prediction).split(), normalise(answer).split()
        same = sum((Counter(p) & Counter(a)).values())
        return 2 * same / (len(p) + len(a)) if same else 0.0

    return max(map(one, answers))


def interval(scores):
    """95 % bootstrap interval of the mean."""
    scores = np.asarray(scores)
    draws = np.random.default_rng(0).integers(0, len(scores), (RESAMPLES, len(scores)))
    return [round(float(x), 4) for x in np.percentile(scores[draws].mean(1), [2.5, 97.5])]


def relative_interval(scores, full):
    """95 % paired bootstrap interval of mean(scores) / mean(full)."""
    scores, full = np.asarray(scores), np.asarray(full)
    draws = np.random.default_rng(0).integers(0, len(full), (RESAMPLES, len(full)))
    return [round(float(x), 4) for x in np.percentile(scores[draws].mean(1) / full[draws].mean(1), [2.5, 97.5])]
