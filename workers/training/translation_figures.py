"""How good translations are: BLEU (Papineni et al. 2002) and chrF (Popović 2015), by sacrebleu (Post 2018), so that the
figures can be compared with those of others. Both from 0 to 100; higher is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from sklearn.feature_extraction.text import TfidfVectorizer

from workers.preprocessing.texts import script_shares

# Scripts without blanks, whose words sacrebleu must find before it can count them; what it knows no rules for is
# compared character by character.
TOKENIZERS = {"Han": "zh", "Kana": "char", "Thai": "char", "Lao": "char", "Myanmar": "char", "Khmer": "char"}
USUAL_TOKENIZER = "13a"
TOKENIZING_SHARE = 0.2
REMEMBERED, COMPARED = 50_000, 500
RUNS = (2, 4)  # characters that are compared to find the nearest source


@dataclass(frozen=True)
class Judge:
    """Compares translations with references, which are cut into words by `tokenizer` of sacrebleu."""

    tokenizer: str

    @classmethod
    def of(cls, references: Sequence[str]) -> Judge:
        """The judge for the script that the references are written in. Kana beside Han is Japanese."""
        shares = {name: share for name, share in script_shares(references) if share >= TOKENIZING_SHARE}
        named = [name for name in TOKENIZERS if name in shares]
        return cls("char" if "Kana" in named else TOKENIZERS[named[0]] if named else USUAL_TOKENIZER)

    def bleu(self, said: Sequence[str], references: Sequence[str]) -> float:
        return self._bleu().corpus_score(list(said), [list(references)]).score

    def _bleu(self) -> BLEU:
        return BLEU(tokenize=self.tokenizer)

    def figures(self, said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        chrf = CHRF().corpus_score(list(said), [list(references)]).score
        return {"bleu": round(self.bleu(said, references), 4), "chrf": round(chrf, 4)}

    def signatures(self) -> dict[str, str]:
        """What must be said beside the figures, so that others can measure alike."""
        bleu, chrf = self._bleu(), CHRF()
        for metric in (bleu, chrf):
            metric.corpus_score(["a"], [["a"]])  # a signature counts the references of the last use
        return {"bleu": bleu.get_signature().format(), "chrf": chrf.get_signature().format()}


def sentence_chrf(said: str, reference: str) -> float:
    return CHRF().sentence_score(said, [reference]).score


def remembered(sources: Sequence[str], targets: Sequence[str], asked: Sequence[str]) -> list[str]:
    """What a translation memory answers: the translation of the training source that has most runs of characters in
    common with what is asked, by TF-IDF."""
    step = max(1, len(sources) // REMEMBERED)
    sources, targets = sources[::step], targets[::step]
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=RUNS, dtype=np.float32, sublinear_tf=True)
    known = vectors.fit_transform(sources).T.tocsr()
    answers: list[str] = []
    for start in range(0, len(asked), COMPARED):
        alike: Any = vectors.transform(asked[start : start + COMPARED]) @ known
        answers.extend(targets[place] for place in np.asarray(alike.argmax(axis=1)).reshape(-1))
    return answers
