"""What checks of images and of recordings share: files decoded in children, sizes of classes, copies."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from workers.contract import ProgramFailure
from workers.preprocessing.decoding import DecoderPool
from workers.preprocessing.limits import Limits
from workers.preprocessing.report import BadItems, Progress, Warnings, describe
from workers.preprocessing.sources import Member
from workers.preprocessing.splitting import Assignment, crossing_keys, natural_order

CHECK = "check"


class HasMember(Protocol):
    @property
    def member(self) -> Member: ...


Candidate = TypeVar("Candidate", bound=HasMember)
Labelled = TypeVar("Labelled")


def batches(candidates: Sequence[Candidate], limits: Limits, bad: BadItems) -> Iterator[list[tuple[Candidate, bytes]]]:
    """Candidates with their bytes, a few at a time."""
    batch: list[tuple[Candidate, bytes]] = []
    size = 0
    for candidate in candidates:
        if candidate.member.size > limits.max_entry_bytes:
            reason = f"has {candidate.member.size:,} bytes; {limits.max_entry_bytes:,} are allowed"
            bad.add(candidate.member.name, reason, "file_too_large")
            continue
        data = candidate.member.read(limits.max_entry_bytes)
        batch.append((candidate, data))
        size += len(data)
        if len(batch) >= limits.batch_items or size >= limits.batch_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def check_files(
    candidates: Sequence[Candidate], pool: DecoderPool, workers: int, limits: Limits, bad: BadItems,
    progress: Progress, noun: str,
) -> Iterator[tuple[int, Candidate, bytes, Any]]:  # fmt: skip
    """Decode in the pool; (number, candidate, bytes, facts) of what is sound, in order. Two batches per worker are in
    flight. Raises ProgramFailure too_many_crashes."""
    pending: deque[tuple[list[tuple[Candidate, bytes]], Future[list[Any]]]] = deque()
    done = 0

    def finish_first() -> Iterator[tuple[int, Candidate, bytes, Any]]:
        nonlocal done
        batch, future = pending.popleft()
        for (candidate, data), fact in zip(batch, future.result(), strict=True):
            done += 1
            if fact.code:
                bad.add(candidate.member.name, fact.reason, fact.code)
                check_crashes(bad, limits, noun)
            else:
                yield done, candidate, data, fact
        progress.tell(done, f"Checked {done:,} of {len(candidates):,} {noun}")

    for batch in batches(candidates, limits, bad):
        pending.append((batch, pool.submit(CHECK, [data for _, data in batch])))
        if len(pending) >= 2 * workers:
            yield from finish_first()
    while pending:
        yield from finish_first()


def check_crashes(bad: BadItems, limits: Limits, noun: str) -> None:
    """Each crash costs a new process, so an upload made of nothing else is given up."""
    if bad.counts.get("decoder_crashed", 0) > limits.max_decoder_crashes:
        raise ProgramFailure(
            "too_many_crashes",
            f"More than {limits.max_decoder_crashes} {noun} made their decoder crash. {bad.first()}.",
            hint=f"Open these {noun} in another program and save them again, or leave them out.",
        )


def check_classes(labels: Sequence[str], bad: BadItems, limits: Limits, noun: str) -> None:
    """Raises ProgramFailure one_class or class_too_small."""
    counts = Counter(labels)
    if len(counts) == 1:
        label = next(iter(counts))
        raise ProgramFailure(
            "one_class",
            f'Found one class, "{label}".',
            hint=f"To tell classes apart, put {noun} of at least two classes in folders of their own.",
        )
    small = sorted(label for label, count in counts.items() if count < limits.min_class_size)
    if small:
        lost = f" {bad.total} files could not be used; the first is {bad.first()}." if bad.total else ""
        raise ProgramFailure(
            "class_too_small",
            f"Every class needs at least {limits.min_class_size} {noun}; too few have "
            f"{describe([f'{label} ({counts[label]})' for label in small])}.{lost}",
            hint=f"Add {noun} to these classes or leave the classes out.",
        )


def warn_of_duplicates(
    labels: Sequence[str], keys: Sequence[str], result: Assignment, warnings: Warnings, noun: str, copies: str,
    torn_words: str = "stand in more than one class",
) -> None:  # fmt: skip
    """`keys` are equal for equal content, and `copies` says in which way these are; `torn_words` what those are that
    have several labels."""
    if crossing := crossing_keys(keys, result.splits):
        warnings.add(
            "duplicate_across_splits", f"{noun} that stand in more than one of train, val and test: {crossing:,}."
        )
    if repeated := len(keys) - len(set(keys)):
        warnings.add("duplicates", f"{noun} that are {copies} of others: {repeated:,}.")
    found = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        found[key].add(label)
    if torn := sum(len(names) > 1 for names in found.values()):
        warnings.add("conflicting_labels", f"{noun} that {torn_words}: {torn:,}.")


def pick_of_each_class(items: Sequence[Labelled], key: str, classes: int, per_class: int) -> list[Labelled]:
    """The first items of the first classes, in natural order, none twice: those with the lowest values of the attribute
    `key`, which are equal for equal contents."""
    by_label: dict[str, dict[str, Labelled]] = defaultdict(dict)
    for item in items:
        by_label[item.label].setdefault(getattr(item, key), item)
    labels = sorted(by_label, key=natural_order)[:classes]
    return [by_label[label][value] for label in labels for value in sorted(by_label[label])[:per_class]]
