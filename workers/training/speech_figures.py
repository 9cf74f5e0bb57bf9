"""How good transcripts are: word and character error rate by jiwer (Morris et al. 2004), and what was heard in place of
what. A rate is (substituted + left out + added) / (how many were said); it may be above 1, and lower is better."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer


def error_rates(said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Of what the model wrote (`said`), from the sums over all recordings, and the share of these that are right word
    for word. References are not empty."""
    right = sum(one == other for one, other in zip(said, references, strict=True))
    return {
        "wer": round(jiwer.wer(list(references), list(said)), 6),
        "cer": round(jiwer.cer(list(references), list(said)), 6),
        "all_right": round(right / len(references), 6),
    }


def word_differences(said: str, reference: str) -> list[dict[str, str]]:
    """[{"kind", "true", "said"}] in order: words that are equal, substitute (one said for another), delete (left out)
    or insert (added)."""
    found = jiwer.process_words([reference], [said])
    (true,), (heard,) = found.references, found.hypotheses
    return [
        {
            "kind": chunk.type,
            "true": " ".join(true[chunk.ref_start_idx : chunk.ref_end_idx]),
            "said": " ".join(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        }
        for chunk in found.alignments[0]
    ]


def edits(said: str, reference: str) -> tuple[int, int]:
    """Wrong words, and wrong characters, in one transcript."""
    words, letters = jiwer.process_words([reference], [said]), jiwer.process_characters([reference], [said])
    return tuple(found.substitutions + found.deletions + found.insertions for found in (words, letters))
