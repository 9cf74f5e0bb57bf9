"""What the folders of one upload mean: which is a wrapping, which a split, which a class. Pure."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from workers.preprocessing.splitting import split_of_folder

Folders = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Class and split that the folders of an image give; None where they give none."""

    label: str | None
    split: str | None


def read_layout(paths: Sequence[str]) -> list[Place]:
    """The place of each image of one upload, given all their paths ("wrapping/train/cats/1.png")."""
    # macOS writes "é" as two characters, other systems as one; it is one class.
    folders = [tuple(unicodedata.normalize("NFC", path).split("/")[:-1]) for path in paths]
    wrapping = wrapping_depth([each for each in folders if each])
    folders = [each[wrapping:] for each in folders]
    splits = split_folders(folders)
    if not splits and is_class_first(folders):
        return [Place(each[-2], split_of_folder(each[-1])) for each in folders]
    return [place_of(each, splits) for each in folders]


def wrapping_depth(folders: Sequence[Folders]) -> int:
    """How many outer folders hold everything and say nothing: up to the split, and never the only class."""
    if not folders:
        return 0
    common = os.path.commonprefix(list(folders))
    for depth, name in enumerate(common):
        if split_of_folder(name) and any(len(each) > depth + 1 for each in folders):
            return depth
    is_only_class = all(each == common for each in folders)
    return len(common) - 1 if is_only_class else len(common)


def split_folders(folders: Sequence[Folders]) -> set[str]:
    """The top folders that stand for splits. A folder "train" of images beside "plane" and "ship" is a class."""
    tops = {each[0] for each in folders if each}
    named = {top for top in tops if split_of_folder(top)}
    deep = {each[0] for each in folders if len(each) > 1}
    return named if named == tops else named & deep


def is_class_first(folders: Sequence[Folders]) -> bool:
    """True for cats/train/1.png, cats/test/2.png, dogs/train/3.png."""
    return bool(folders) and all(len(each) > 1 and split_of_folder(each[-1]) for each in folders)


def place_of(folders: Folders, splits: set[str]) -> Place:
    split = None
    if folders and folders[0] in splits:
        split, folders = split_of_folder(folders[0]), folders[1:]
    return Place(folders[-1] if folders else None, split)
