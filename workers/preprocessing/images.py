"""Image folders: decode every image, settle classes and splits, write data.zip, index.jsonl and thumbnails."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.contract import IMAGE_CLASSIFICATION, KIND_IMAGES, SPLITS, EventWriter, PrepareSpec, ProgramFailure
from workers.preprocessing.balance import warn_of_balance
from workers.preprocessing.checking import check_classes, check_files, pick_of_each_class
from workers.preprocessing.decoding import Decoded, DecoderPool
from workers.preprocessing.doctor.features import image_features
from workers.preprocessing.doctor.label_errors import warn_of_labels
from workers.preprocessing.doctor.near_copies import near_pictures, warn_of_near_copies
from workers.preprocessing.findings import Findings
from workers.preprocessing.items import Copies, Items, warn_of_copies
from workers.preprocessing.layout import Place, read_layout
from workers.preprocessing.limits import Limits
from workers.preprocessing.recipe import Recipe
from workers.preprocessing.report import BadItems, Progress
from workers.preprocessing.sources import IMAGE_ENDINGS, Bundle, Member, Sources, ending_of
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
    """A file that is called an image and lies in a class folder."""

    member: Member
    label: str
    split: str | None


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


def prepare_images(
    sources: Sources, spec: PrepareSpec, recipe: Recipe, output: Path, limits: Limits, events: EventWriter
) -> dict[str, Any]:
    """Write data.zip, index.jsonl and thumbs/ into `output`; return the report. Raises ProgramFailure."""
    bad, findings = BadItems(limits.max_bad_listed), Findings()
    candidates = list(recipe.choose(find_candidates(sources.bundles, bad)))
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
        check_classes([image.label for image in images], bad, limits, "images")
        splits = split_images(images, spec, recipe, findings)
        events.progress(0.96, "Looking for copies and for wrong labels")
        examine(images, splits.splits, limits.glance_pixels, findings)
        thumbnails = make_thumbnails(images, pool, archive, output, limits)
        show_found(findings, images, pool, archive, output)
    write_index(output / "index.jsonl", images, splits.splits)
    return build_report(images, splits, bad, findings, thumbnails) | {
        "steps": describe_steps(len(candidates), bad, recipe),
        "ignored": sources.ignored,
        "data_bytes": (output / "data.zip").stat().st_size,
    }


def find_candidates(bundles: Sequence[Bundle], bad: BadItems) -> list[Candidate]:
    return [candidate for bundle in bundles for candidate in candidates_of(bundle, bad)]


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
            yield Candidate(member, place.label, member.split or place.split or bundle.split)


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
    name = f"{candidate.label}/{number:06d}{ENDINGS[fact.format]}"
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
    warn_of_split(labels, given, result, findings, "images")
    warn_of_balance(items, "images", findings)
    return result


def items_of(images: Sequence[SoundImage], splits: Sequence[str]) -> Items:
    ids, labels = [image.source for image in images], [image.label for image in images]
    return Items(ids, labels, splits, lambda number: {"number": number})


def examine(images: Sequence[SoundImage], splits: Sequence[str], side: int, findings: Findings) -> None:
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

    warn_of_labels(items, features_of, "images", findings, looked_at=LOOKED_AT, unreadable=unread)


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
