"""Answers per version: counted in memory where they are given, added up in Valkey about once a second.

Two sums are kept for each version of a deployment: one since the last change of its traffic, by which a canary is
judged, and one per ten seconds, from which the page shows the last minutes. Latencies are kept as a histogram whose
bounds grow by 5 %, so that a percentile is right within 2.5 % and sums of several web servers can be added.
"""

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from apps.core.valkey import valkey
from apps.deployments.judging import Figures

SHORTEST_SECONDS = 1e-4
GROWTH = 1.05
LOG_GROWTH = math.log(GROWTH)
LAST_BUCKET = math.ceil(math.log(3600 / SHORTEST_SECONDS) / LOG_GROWTH)

SLOT_SECONDS = 10
SLOTS_KEPT_SECONDS = 15 * 60
SINCE_KEPT_SECONDS = 30 * 24 * 3600

ANSWERS, ERRORS, BATCHED = "answers", "errors", "batched"


@dataclass(frozen=True)
class Source:
    """Who answered: a version of a deployment, since a change of its traffic."""

    deployment_id: int
    version_id: int
    change_id: int


@dataclass
class Count:
    """Answers, server errors among them, and how many took how long: bucket -> answers.

    `batched` is the sum, over the answers, of how many questions a replica answered together with each.
    """

    answers: int = 0
    errors: int = 0
    batched: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def note(self, seconds: float, *, is_error: bool, batch: int = 1) -> None:
        """Count one answer."""
        self.answers += 1
        self.errors += is_error
        self.batched += batch
        self.buckets[bucket_of(seconds)] += 1

    def add(self, other: "Count") -> None:
        self.answers += other.answers
        self.errors += other.errors
        self.batched += other.batched
        self.buckets.update(other.buckets)

    def figures(self) -> Figures:
        p50, p95, p99 = (self._percentile(part) for part in (0.5, 0.95, 0.99))
        return Figures(self.answers, self.errors, p50, p95, p99, self.batched / self.answers if self.answers else None)

    def _percentile(self, part: float) -> float | None:
        """Nearest rank: the smallest latency that at least `part` of the answers did not exceed."""
        rank, seen = math.ceil(part * self.buckets.total()), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return seconds_of(bucket)
        return None

    def fields(self) -> dict[str, int]:
        """As a hash in Valkey."""
        counts = {ANSWERS: self.answers, ERRORS: self.errors, BATCHED: self.batched}
        return {name: count for name, count in counts.items() if count} | {
            str(bucket): count for bucket, count in self.buckets.items()
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Count":
        buckets = {int(name): int(count) for name, count in fields.items() if name.isdigit()}
        sums = (int(fields.get(name, 0)) for name in (ANSWERS, ERRORS, BATCHED))
        return cls(*sums, Counter(buckets))


def bucket_of(seconds: float) -> int:
    if seconds <= SHORTEST_SECONDS:
        return 0
    return min(LAST_BUCKET, int(math.log(seconds / SHORTEST_SECONDS) / LOG_GROWTH))


def seconds_of(bucket: int) -> float:
    """The middle of a bucket."""
    return SHORTEST_SECONDS * GROWTH ** (bucket + 0.5)


class Tally:
    """Counts by source until they are taken away. Any thread may add."""

    def __init__(self) -> None:
        self._counts: dict[Source, Count] = defaultdict(Count)
        self._lock = threading.Lock()

    def add(self, source: Source, seconds: float, *, is_error: bool, batch: int = 1) -> None:
        with self._lock:
            self._counts[source].note(seconds, is_error=is_error, batch=batch)

    def take(self) -> dict[Source, Count]:
        with self._lock:
            taken, self._counts = self._counts, defaultdict(Count)
        return taken

    def flush(self, *, now: float) -> set[int]:
        """Add what was counted to the sums; what cannot be added is kept for the next time.

        `now` is in seconds since 1970. Returns the ids of the deployments that have answered.
        """
        taken = self.take()
        try:
            add_counts(taken, now=now)
        except Exception:
            with self._lock:
                for source, count in taken.items():
                    self._counts[source].add(count)
            raise
        return {source.deployment_id for source in taken}


TALLY = Tally()


def add_counts(counts: Mapping[Source, Count], *, now: float) -> None:
    """Add to the sums, in one round trip."""
    if not counts:
        return
    with valkey().pipeline(transaction=True) as pipeline:
        for source, count in counts.items():
            slot = _slot_key(source.deployment_id, source.version_id, int(now // SLOT_SECONDS))
            for key, kept_seconds in ((slot, SLOTS_KEPT_SECONDS), (_since_key(source), SINCE_KEPT_SECONDS)):
                for name, number in count.fields().items():
                    pipeline.hincrby(key, name, number)
                pipeline.expire(key, kept_seconds)
        pipeline.execute()


def figures_since(sources: Iterable[Source]) -> dict[int, Figures]:
    """Version -> its figures since the change that the source names."""
    sources = list(sources)
    found = _read([_since_key(source) for source in sources])
    return {source.version_id: count.figures() for source, count in zip(sources, found, strict=True)}


def figures_lately(deployment_id: int, version_ids: Iterable[int], *, now: float, seconds: int) -> dict[int, Figures]:
    """Version -> its figures in the last `seconds`, and in the ten seconds or less that have begun."""
    version_ids, newest = list(version_ids), int(now // SLOT_SECONDS)
    slots = range(newest - seconds // SLOT_SECONDS, newest + 1)
    keys = [_slot_key(deployment_id, item, slot) for item in version_ids for slot in slots]
    sums = {version_id: Count() for version_id in version_ids}
    for number, count in enumerate(_read(keys)):
        sums[version_ids[number // len(slots)]].add(count)
    return {version_id: count.figures() for version_id, count in sums.items()}


def _read(keys: list[str]) -> list[Count]:
    with valkey().pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hgetall(key)
        return [Count.from_fields(fields) for fields in pipeline.execute()]


def _slot_key(deployment_id: int, version_id: int, slot: int) -> str:
    return f"serving:{deployment_id}:{version_id}:slot:{slot}"


def _since_key(source: Source) -> str:
    return f"serving:{source.deployment_id}:{source.version_id}:since:{source.change_id}"
