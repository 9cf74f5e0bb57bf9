"""A language model of characters: how probable one is after those before it. Standard library only.

Counts of up to `ORDER` characters in a row, smoothed by mixing longer and shorter contexts (Witten and Bell 1991, "The
zero-frequency problem"): p(c | h) = (n(h, c) + d(h) p(c | h')) / (n(h) + d(h)), where n counts, d(h) is how many
different characters follow h, and h' is h without its first character. Before the first of them all are alike.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

EDGE = "\n"  # stands before a text and behind it
ORDER = 6
LEARNED_FROM = 500_000  # characters at most
MOST_KNOWN = 100_000  # answers that are kept: a replica hears noise for months


class Characters:
    """`counts` has by context, of 0 to `ORDER` - 1 characters, how often which character followed it."""

    def __init__(self, counts: Mapping[str, Mapping[str, int]], letters: int) -> None:
        self.counts, self.letters = counts, letters
        self._totals = {context: sum(found.values()) for context, found in counts.items()}
        self._known: dict[tuple[str, str], float] = {}

    @classmethod
    def learn(cls, texts: Iterable[str]) -> Characters:
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        letters, left = {EDGE}, LEARNED_FROM
        for text in texts:
            letters |= set(text)
            left -= len(text)
            if left < 0:
                break
            whole = f"{EDGE}{text}{EDGE}"
            for place in range(1, len(whole)):
                for length in range(min(ORDER, place + 1)):
                    counts[whole[place - length : place]][whole[place]] += 1
        return cls(counts, len(letters))

    def log_probability(self, text: str, letter: str) -> float:
        """ln p of `letter` after `text`, which is all that was written; `EDGE` is the text's end."""
        context = f"{EDGE}{text}"[-(ORDER - 1) :]
        found = self._known.get((context, letter))
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[context, letter] = math.log(self._probability(context, letter))
        return found

    def _probability(self, context: str, letter: str) -> float:
        probability = 1 / (self.letters + 1)  # one for all that was never seen
        for start in range(len(context), -1, -1):
            followers = self.counts.get(context[start:])
            if followers:
                total, different = self._totals[context[start:]], len(followers)
                probability = (followers.get(letter, 0) + different * probability) / (total + different)
        return probability

    def save(self, path: Path) -> None:
        body = {"letters": self.letters, "counts": self.counts}
        path.write_text(json.dumps(body, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Characters:
        """Raises OSError, KeyError, TypeError, ValueError."""
        body = json.loads(path.read_text(encoding="utf-8"))
        return cls(body["counts"], body["letters"])
