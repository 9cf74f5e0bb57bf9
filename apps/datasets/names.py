"""What uploaded files and data sets may be called. Pure."""

import unicodedata
from pathlib import PurePosixPath

from workers.preprocessing.sources import TABLE_ENDINGS
from workers.preprocessing.splitting import split_of_stem

MAX_NAME_LENGTH = 500
MAX_PART_BYTES = 255
MAX_DATASET_NAME_LENGTH = 80
ENDINGS = TABLE_ENDINGS | {".zip", ".txt"}


def clean_upload_name(name: str) -> str:
    """The file's name with its folders, without what could lead out of them: "C:\\\\a\\\\..\\\\b.png" is "a/b.png".

    Empty when nothing is left or when a part or the whole is too long.
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/")
    name = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C")
    parts = [part.strip() for part in name.split("/")]
    parts = [part for part in parts if part not in ("", ".", "..") and not is_drive(part)]
    cleaned = "/".join(parts)
    is_long = len(cleaned) > MAX_NAME_LENGTH or any(len(part.encode()) > MAX_PART_BYTES for part in parts)
    return "" if is_long else cleaned


def is_drive(part: str) -> bool:
    return len(part) == 2 and part[1] == ":" and part[0].isalpha()


def propose_split(name: str) -> str:
    """The split that the file's own name says ("adult_train.csv" is "train"), or ""."""
    path = PurePosixPath(name)
    return (split_of_stem(path.stem) or "") if path.suffix.lower() in ENDINGS else ""


def clean_dataset_name(name: str) -> str:
    """One line, single spaces, no control characters."""
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    return "".join(letter for letter in name if unicodedata.category(letter)[0] != "C")
