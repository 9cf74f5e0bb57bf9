"""Image folders: decode every image, settle classes and splits, write data.zip, index.jsonl and thumbnails."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import (
    IMAGE_CLASSIFICATION,
    KIND_IMAGES,
    LABEL_SEPARATOR,
    MULTI_LABEL_IMAGES,
    SPLITS,
    EventWriter,
    PrepareSpec,
    ProgramFailure,
)
from workers.preprocessing.balance import warn_of_balance
from workers.preprocessing.checking import check_classes, check_files, pick_of_each_class
from workers.preprocessing.decoding import Decoded, DecoderPool
from workers.preprocessing.doctor.features import image_features
from workers.preprocessing.doctor.label_errors import warn_of_labels
from workers.preprocessing.doctor.near_copies import near_pictures, warn_of_near_copies
from workers.preprocessing.doctor.several_labels import warn_of_several_labels
from workers.preprocessing.findings import Findings
from workers.preprocessing.image_labels import Labelling, check_labels, count_labels, rarest_labels, read_labels
from workers.preprocessing.items import Copies, Items, warn_of_copies
from workers.preprocessing.layout import Place, read_layout
from workers.preprocessing.limits import Limits
from workers.preprocessing.recipe import Recipe
from workers.preprocessing.report import BadItems, Progress
from workers.preprocessing.sources import (
    IMAGE_ENDINGS,
    JSON_ENDINGS,
    TABLE_ENDINGS,
    Bundle,
    Member,
    Sources,
    ending_of,
    is_description,
)
from workers.preprocessing.splitting import (
    Assignment,
    assign_splits,
    count_classes,
    warn_of_split,
)
from workers.training.architectures import sides_of

THUMBNAIL = "thumbnail"
ONE_DATE = (2000, 1, 1, 0, 0, 0)  # so that equal images give an equal data.zip
ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}
LOOKED_AT = 10_000  # images whose labels are looked at
FORMATS = "PNG, JPEG, WEBP, BMP, GIF and TIFF"


@dataclass(frozen=True)
class Candidate:
    """A file that is called an image and lies in a class folder, or of which a table says what it shows: several labels
    stand side by side. `folder` is where it goes in data.zip."""

    member: Member
    label: str
    split: str | None
    folder: str


@dataclass(frozen=True)
class SoundImage:
    """A image in data.zip under `member`; width and height are pixels."""

    member: str
    label: str
    given: str | None
    width: int
    height: int
    sha256: str
    source: str
    pixels: bytes = b""

    @property
    def labels(self) -> list[str]:
        return self.label.split(LABEL_SEPARATOR) if self.label else []


def prepare_images(
    sources: Sources,
    spec: PrepareSpec,
    recipe: Recipe,
    output: Path,
    scratch: Path,
    limits: Limits,
    events: EventWriter,
) -> dict[str, Any]:
    """Write data.zip, index.jsonl and thumbs/ into `output`; return the report. Raises ProgramFailure."""
    bad, findings = BadItems(limits.max_bad_listed), Findings()
    found, has_several = find_candidates(sources, scratch, limits, bad)
    candidates = list(recipe.choose(found))
    if not candidates:
        raise no_images(bad)
    workers = max(1, min(spec.threads, 8))
    with DecoderPool(workers, limits) as pool, zipfile.ZipFile(output / "data.zip", "w") as archive:
        progress = Progress(events, len(candidates))
        checked = check_files(candidates, pool, workers, limits, bad, progress, "images")
        kept = 1 + len(candidates) // limits.glances
        images = [store(archive, *found, keeps_pixels=found[0] % kept == 0) for found in checked]
        if not images:
            raise no_images(bad)
        if not has_several:
            check_classes([image.label for image in images], bad, limits, "images")
        splits = (split_labelled if has_several else split_images)(images, spec, recipe, findings)
        events.progress(0.96, "Looking for copies and for wrong labels")
        examine(images, splits.splits, limits.glance_pixels, findings, has_classes=not has_several)
        shown = [replace(image, label=label) for image, label in zip(images, strata_of(images), strict=True)]
        thumbnails = make_thumbnails(shown if has_several else images, pool, archive, output, limits)
        show_found(findings, images, pool, archive, output)
    write_index(output / "index.jsonl", images, splits.splits)
    report = build_report(images, splits, bad, findings, thumbnails) | {
        "steps": describe_steps(len(candidates), bad, recipe),
        "ignored": sources.ignored,
        "data_bytes": (output / "data.zip").stat().st_size,
    }
    if has_several:
        labels = count_labels([image.labels for image in images], splits.splits)
        report |= {"task": MULTI_LABEL_IMAGES, "classes": labels}
    return report


def find_candidates(
    sources: Sources, scratch: Path, limits: Limits, bad: BadItems
) -> tuple[list[Candidate], bool]:  # fmt: skip
    """The images that have a label, by a table that describes them, else by their folders; and whether an image may
    have several."""
    tables = describing_tables(sources)
    if not tables:
        return [candidate for bundle in sources.bundles for candidate in candidates_of(bundle, bad)], False
    images = [member for member in sources.members if ending_of(member.path) in IMAGE_ENDINGS]
    told = read_labels(tables, images, scratch, limits, bad)
    return [each for bundle in sources.bundles for each in described_in(bundle, told, bad)], told.has_several


def describing_tables(sources: Sources) -> list[Member]:
    """Those called metadata or labels; or all, where the folders tell no classes apart."""
    tables = [member for member in sources.members if ending_of(member.path) in TABLE_ENDINGS - JSON_ENDINGS]
    named = [member for member in tables if is_description(member)]
    if named or not tables:
        return named
    folders = {each.label for bundle in sources.bundles for each in candidates_of(bundle, BadItems(0))}
    return tables if len(folders) < 2 else []


def described_in(bundle: Bundle, told: Labelling, bad: BadItems) -> Iterator[Candidate]:
    """The images of one upload that a table describes; the other files are bad items."""
    for member in bundle.members:
        about, ending = told.images.get(member), ending_of(member.path)
        if about is not None:
            split = member.split or about.split or bundle.split
            yield Candidate(member, LABEL_SEPARATOR.join(about.labels), split, "images")
        elif ending in IMAGE_ENDINGS:
            bad.add(member.name, "no row of the table says what it shows", "no_label")
        elif ending not in TABLE_ENDINGS:
            kind = ending or "a file without an ending"
            bad.add(member.name, f"not an image ({kind}); images are {FORMATS}", "not_an_image")


def candidates_of(bundle: Bundle, bad: BadItems) -> Iterator[Candidate]:
    """The images of one upload that have a class; the other files are bad items."""
    images = [member for member in bundle.members if ending_of(member.path) in IMAGE_ENDINGS]
    places = dict(zip(images, read_layout([member.path for member in images]), strict=True))
    for member in bundle.members:
        place = places.get(member, Place(None, None))
        if member not in places:
            kind = ending_of(member.path) or "a file without an ending"
            bad.add(member.name, f"not an image ({kind}); images are {FORMATS}", "not_an_image")
        elif place.label is None:
            bad.add(member.name, "lies in no class folder", "no_class_folder")
        else:
            yield Candidate(member, place.label, member.split or place.split or bundle.split, place.label)


def no_images(bad: BadItems) -> ProgramFailure:
    if count := bad.counts.get("no_class_folder", 0):
        return ProgramFailure(
            "no_class_folders",
            f"None of the {count} images lies in a class folder.",
            hint='Put the images of each class into a folder of its own, such as "cats/1.png" and "dogs/1.png".',
        )
    return ProgramFailure(
        "no_images",
        f"No image of this upload can be used. {bad.first()}.",
        hint=f"Images are {FORMATS}, in one folder per class.",
    )


def store(
    archive: zipfile.ZipFile, number: int, candidate: Candidate, data: bytes, fact: Decoded, *, keeps_pixels: bool
) -> SoundImage:
    """Write the original bytes under a name of our own; what strangers call their files never becomes a path."""
    name = f"{candidate.folder}/{number:06d}{ENDINGS[fact.format]}"
    archive.writestr(zipfile.ZipInfo(name, ONE_DATE), data)
    digest = hashlib.sha256(data).hexdigest()
    pixels = fact.body if keeps_pixels else b""
    source = candidate.member.name
    return SoundImage(name, candidate.label, candidate.split, fact.width, fact.height, digest, source, pixels)


def split_images(images: Sequence[SoundImage], spec: PrepareSpec, recipe: Recipe, findings: Findings) -> Assignment:
    """Settle the split and warn of what a person would want to know about it. Raises ProgramFailure."""
    labels, keys = [image.label for image in images], [image.sha256 for image in images]
    given = [image.given for image in images]
    result = assign_splits(labels, keys, given, spec.split_fractions, spec.seed)
    result = result.as_before(recipe.split_source)
    items = items_of(images, result.splits)
    warn_of_copies(keys, items, Copies("Images", "byte for byte copies of others"), findings)
    warn_of_split(items, given, result, findings, "images", has_classes=True)
    warn_of_balance(items, "images", findings)
    return result


def strata_of(images: Sequence[SoundImage]) -> list[str]:
    return rarest_labels([image.labels for image in images])


def split_labelled(images: Sequence[SoundImage], spec: PrepareSpec, recipe: Recipe, findings: Findings) -> Assignment:
    """The same for images of several labels, so that every part has some images of the rare ones."""
    keys, given = [image.sha256 for image in images], [image.given for image in images]
    result = assign_splits(strata_of(images), keys, given, spec.split_fractions, spec.seed)
    result = result.as_before(recipe.split_source)
    items = items_of(images, result.splits)
    words = Copies("Images", "byte for byte copies of others", torn_words="have different labels")
    warn_of_copies(keys, items, words, findings)
    warn_of_split(items, given, result, findings, "images", has_classes=False)
    check_labels([image.labels for image in images], items, findings)
    return result


def items_of(images: Sequence[SoundImage], splits: Sequence[str]) -> Items:
    ids, labels = [image.source for image in images], [image.label for image in images]
    return Items(ids, labels, splits, lambda number: {"number": number})


def examine(
    images: Sequence[SoundImage], splits: Sequence[str], side: int, findings: Findings, *, has_classes: bool
) -> None:
    """Near copies and wrong labels, among the images whose pixels were kept."""
    glanced = [number for number, image in enumerate(images) if image.pixels]
    if not glanced:
        return
    shape = (len(glanced), side, side, 3)
    pixels = np.frombuffer(b"".join(images[number].pixels for number in glanced), dtype=np.uint8).reshape(shape)
    items = items_of(images, splits)
    groups = [[glanced[place] for place in group] for group in near_pictures(pixels.mean(axis=3, dtype=np.float32))]
    groups = [group for group in groups if len({images[number].sha256 for number in group}) > 1]
    sampled = "" if len(glanced) == len(images) else f"{len(glanced):,} of {len(images):,} images were compared."
    warn_of_near_copies(groups, items, "images", findings, sampled)
    places = {number: place for place, number in enumerate(glanced)}
    unread = [number for number, image in enumerate(images) if not image.pixels]

    def features_of(numbers: np.ndarray) -> np.ndarray:
        return image_features(pixels[[places[number] for number in numbers.tolist()]])

    if has_classes:
        warn_of_labels(items, features_of, "images", findings, looked_at=LOOKED_AT, unreadable=unread)
    else:
        labels = [image.labels for image in images]
        warn_of_several_labels(labels, items, features_of, "images", findings, looked_at=LOOKED_AT, unreadable=unread)


def make_thumbnails(
    images: Sequence[SoundImage], pool: DecoderPool, archive: zipfile.ZipFile, output: Path, limits: Limits
) -> list[dict[str, str]]:
    """Re-encode a few images per class, chosen by content, as small PNG files in thumbs/."""
    chosen = pick_of_each_class(images, "sha256", limits.thumbnail_classes, limits.thumbnails_per_class)
    (output / "thumbs").mkdir()
    done = []
    for start in range(0, len(chosen), limits.batch_items):
        batch = chosen[start : start + limits.batch_items]
        facts = [pool.submit(THUMBNAIL, [archive.read(image.member)]) for image in batch]
        for number, (image, future) in enumerate(zip(batch, facts, strict=True), start):
            if png := future.result()[0].body:
                file = f"thumbs/{number:04d}.png"
                (output / file).write_bytes(png)
                done.append({"label": image.label, "file": file})
    return done


def show_found(
    findings: Findings, images: Sequence[SoundImage], pool: DecoderPool, archive: zipfile.ZipFile, output: Path
) -> None:
    """A thumbnail for each image that a finding shows."""
    made: dict[int, str] = {}
    for item in findings.shown_items():
        number = item.pop("number")
        if number not in made:
            made[number] = f"thumbs/found-{number:06d}.png"
            (picture,) = pool.submit(THUMBNAIL, [archive.read(images[number].member)]).result()
            (output / made[number]).write_bytes(picture.body)
        item["picture"] = made[number]


def describe_steps(candidates: int, bad: BadItems, recipe: Recipe) -> list[dict[str, Any]]:
    """What was done to make this version, in order."""
    decoded = "Decoded every file to see that it is whole; its own bytes are kept"
    return [
        recipe.said("decode", "decode", decoded, touched=candidates, noun="files"),
        recipe.said("bad_items", "bad_items", "Left out files that cannot be used", touched=bad.total, noun="files"),
        *recipe.describe(),
    ]


def write_index(path: Path, images: Sequence[SoundImage], splits: Sequence[str]) -> None:
    """One JSON object per line: member, label, split, width, height, sha256, source."""
    with open(path, "w", encoding="utf-8") as file:
        for image, split in zip(images, splits, strict=True):
            entry = {
                "member": image.member,
                "label": image.label,
                "split": split,
                "width": image.width,
                "height": image.height,
                "sha256": image.sha256,
                "source": image.source,
            }
            file.write(json.dumps(entry) + "\n")


def build_report(
    images: Sequence[SoundImage],
    splits: Assignment,
    bad: BadItems,
    findings: Findings,
    thumbnails: list[dict[str, str]],
) -> dict[str, Any]:
    lines = sorted(f"{i.sha256} {split} {i.label}" for i, split in zip(images, splits.splits, strict=True))
    return {
        "kind": KIND_IMAGES,
        "task": IMAGE_CLASSIFICATION,
        "target": None,
        "items": len(images),
        "bad": bad.listed,
        "bad_total": bad.total,
        "classes": count_classes([image.label for image in images], splits.splits),
        "splits": {split: splits.splits.count(split) for split in SPLITS},
        "split_source": splits.source,
        "columns": [],
        "preview": [],
        "thumbnails": thumbnails,
        "sides": list(sides_of([(image.width, image.height) for image in images])),
        "content_hash": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "findings": findings.ordered(),
        "remedies": findings.remedies,
    }
