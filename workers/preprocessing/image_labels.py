"""Tables that say what images show: which file, and one label or several."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.contract import LABEL_SEPARATOR, ProgramFailure
from workers.preprocessing.csv_reader import Rows, Table, open_table
from workers.preprocessing.findings import Findings, Remedy
from workers.preprocessing.items import Items, tell_lacking, tell_some
from workers.preprocessing.limits import Limits
from workers.preprocessing.metadata import FILE_COLUMNS, SPLIT_COLUMNS, Places, clean
from workers.preprocessing.report import BadItems, describe
from workers.preprocessing.sources import Member, unpack_tables
from workers.preprocessing.splitting import split_of_folder

FILES = (*FILE_COLUMNS, "image", "image_id", "id", "name")
SEVERAL = ("labels", "tags", "classes")  # columns whose name says that there may be several
ONE = ("label", "class", "target", "category")
SEPARATORS = ("|", ";", ",")
TRUE = ("1", "1.0", "true", "yes")  # in a column for one label; anything else says that it is not there
FORM = (
    'A table beside images needs a column "file" and one "labels", such as "cat|dog", or a column of 0 and 1 for each '
    "label."
)
FEW = 10  # images of a label


@dataclass(frozen=True)
class Shown:
    """What a table says of one image: no label, one, or several."""

    labels: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class Labelling:
    """What all tables say; `has_several` where an image may have any number of labels."""

    images: Mapping[Member, Shown]
    has_several: bool


def read_labels(
    tables: Sequence[Member], images: Sequence[Member], scratch: Path, limits: Limits, bad: BadItems
) -> Labelling:
    """What `tables` say of `images`. Rows about no image are bad items. Raises ProgramFailure missing_columns."""
    places, found, has_several = Places(images), {}, False
    for member, path, _others in unpack_tables(tables, scratch, limits):
        table = open_table(path, member.name, limits)
        columns = find_columns(table)
        rows = list(Rows(table, limits, bad))
        separator = (
            find_separator([row[columns.labels] for _, row in rows], columns) if columns.labels is not None else ""
        )
        has_several = has_several or columns.says_several or bool(separator)
        for line, row in rows:
            name = row[columns.file].strip()
            image = places.find(member, name)
            if image is None:
                bad.add(table.name, f'line {line} names "{name[:200]}", which was not uploaded', "missing_file", line)
            elif image in found:
                bad.add(table.name, f"line {line} names {image.name} once more", "described_twice", line)
            else:
                split = split_of_folder(row[columns.split].strip()) if columns.split is not None else None
                found[image] = Shown(tuple(sorted(set(columns.read(row, separator)))), split)
    return Labelling(found, has_several or any(len(each.labels) != 1 for each in found.values()))


@dataclass(frozen=True)
class Columns:
    """Where in a row stands what is read of it: one column of labels, or a column of 0 and 1 for each of `flags`."""

    file: int
    labels: int | None
    flags: Mapping[int, str]
    split: int | None
    says_several: bool

    def read(self, row: Sequence[str], separator: str) -> Iterator[str]:
        if self.labels is None:
            yield from (name for place, name in self.flags.items() if row[place].strip().lower() in TRUE)
            return
        cell = row[self.labels]
        parts = cell.split(separator) if separator else [cell]
        yield from (label for label in map(_plain, parts) if label)


def _plain(label: str) -> str:
    """Labels are kept side by side, so none may hold what stands between them."""
    return clean(label).replace(LABEL_SEPARATOR, "/")


def find_columns(table: Table) -> Columns:
    """Raises ProgramFailure missing_columns."""
    by_name = {name.lower(): place for place, name in reversed(list(enumerate(table.header)))}

    def place_of(names: Sequence[str]) -> int | None:
        return next((by_name[name] for name in names if name in by_name), None)

    file, split = place_of(FILES), place_of(SPLIT_COLUMNS)
    several, one = place_of(SEVERAL), place_of(ONE)
    labels = several if several is not None else one
    others = [place for place in range(len(table.header)) if place not in (file, split)]
    if file is None or (labels is None and not others):
        message = f"{table.name} does not say which file has which labels; it has the columns {describe(table.header)}."
        raise ProgramFailure("missing_columns", message, hint=FORM)
    flags = {} if labels is not None else {place: _plain(table.header[place]) for place in others}
    return Columns(file, labels, flags, split, says_several=labels is None or several is not None)


def find_separator(cells: Sequence[str], columns: Columns) -> str:
    """What stands between labels: the first of `SEPARATORS` that occurs; a blank only where the column's name says that
    there may be several, for a label may be two words; "" for none."""
    for separator in SEPARATORS:
        if any(separator in cell for cell in cells):
            return separator
    return " " if columns.says_several and any(" " in cell.strip() for cell in cells) else ""


def rarest_labels(labels: Sequence[Sequence[str]]) -> list[str]:
    """For each image its rarest label, by which parts are drawn so that each has some of it; "" without any."""
    counts = Counter(label for each in labels for label in each)
    return [min(each, key=lambda label: (counts[label], label), default="") for each in labels]


def count_labels(labels: Sequence[Sequence[str]], splits: Sequence[str]) -> list[dict[str, int | str]]:
    """Rows {"name", "count", "train", "val", "test"}, the most frequent label first."""
    counts = Counter((label, split) for each, split in zip(labels, splits, strict=True) for label in each)
    totals = Counter(label for each in labels for label in each)
    order = sorted(totals, key=lambda name: (-totals[name], name))
    return [
        {"name": name, "count": totals[name], **{split: counts[name, split] for split in ("train", "val", "test")}}
        for name in order
    ]


def check_labels(labels: Sequence[Sequence[str]], items: Items, findings: Findings) -> None:
    """Raises ProgramFailure no_labels; warns of labels that are rare, or that a part lacks."""
    rows = count_labels(labels, items.splits)
    if not rows:
        raise ProgramFailure("no_labels", "Not one image has a label.", hint=FORM)
    _warn_of_rare(rows, labels, items, findings)
    without = [number for number, each in enumerate(labels) if not each]
    message = f"Images without any label, which teach what none of them is: {len(without):,}."
    tell_some(without, items, "no_label_at_all", message, findings)
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(labels):
        for label in each:
            numbers[label].append(number)
    for split in sorted(set(items.splits)):
        if lacking := [str(row["name"]) for row in rows if not row[split]]:
            message = f"No image of the {split} part has {describe(lacking)}."
            found = {label: numbers[label] for label in lacking}
            tell_lacking(found, split, items, "label_missing_in_split", message, findings)


def _warn_of_rare(
    rows: Sequence[Mapping[str, int | str]], labels: Sequence[Sequence[str]], items: Items, findings: Findings
) -> None:
    """Images with a rare label can lose it, where they have others, or be left out."""
    rare = {str(row["name"]): row["count"] for row in rows if row["count"] < FEW}
    if not rare:
        return
    found = [number for number, each in enumerate(labels) if rare.keys() & set(each)]
    others = {number: [label for label in labels[number] if label not in rare] for number in found}
    left = {number: LABEL_SEPARATOR.join(names) for number, names in others.items() if names}
    names = describe([f"{name} ({count})" for name, count in rare.items()])
    findings.add(
        "rare_labels",
        f"Labels that fewer than {FEW} images have: {names}.",
        total=len(found),
        shown=items.some_suggested(found, left),
        remedy=Remedy(
            leave_out=items.named(found),
            relabel={items.ids[number]: names for number, names in left.items()},
        ),
    )
