"""The next training on the same data finds its images decoded, and the machine's disk does not fill up with them."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.site_helpers import digits, write_zip
from workers.decoded import SAFE_SECONDS, cache_folder, size_of, trim
from workers.training.image_data import ImageRow, ImageSource, build_store

NOW = 1_700_000_000.0
FILE_BYTES = 2**16


class Unread(ImageSource):
    """Data that is not to be decoded."""

    def read_all(self, *_args):
        raise AssertionError("decoded again")


def store(archive: Path, folder: Path, names: list[str], kind: type[ImageSource] = ImageSource) -> np.ndarray:
    rows = [ImageRow(name, name.split("/")[1], "train", 8, 8, name) for name in names]
    return build_store(folder, kind(archive, 1), rows, 8, 1, lambda share: None)


@pytest.fixture
def archive(tmp_path) -> Path:
    return write_zip(tmp_path / "data.zip", digits("01", 4))


def test_images_are_decoded_once_and_cannot_be_changed(archive, tmp_path):
    names = list(digits("01", 4))
    first = store(archive, tmp_path / "cache", names)
    again = store(archive, tmp_path / "cache", names, Unread)
    assert np.array_equal(first, again)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0
    with pytest.raises(AssertionError, match="decoded again"):
        store(archive, tmp_path / "cache", names[1:], Unread)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"], "nothing half made is left"


def make_folder(root: Path, name: str, used_before_seconds: float) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "images.npy").write_bytes(os.urandom(FILE_BYTES))
    os.utime(folder, (NOW - used_before_seconds,) * 2)
    return folder


def test_what_was_used_longest_ago_goes_first(tmp_path):
    old = make_folder(tmp_path, "old", 2 * SAFE_SECONDS)
    older = make_folder(tmp_path, "older", 3 * SAFE_SECONDS)
    recent = make_folder(tmp_path, "recent", SAFE_SECONDS / 2)
    trim(tmp_path, most_bytes=2 * size_of(old), now=NOW)
    assert (older.exists(), old.exists(), recent.exists()) == (False, True, True)
    trim(tmp_path, most_bytes=0, now=NOW)
    assert (old.exists(), recent.exists()) == (False, True), "somebody may be at work in it"


def test_asking_for_a_folder_counts_as_use(tmp_path, settings):
    settings.LEPTON_DECODED_BYTES = 0
    old = make_folder(tmp_path, "aa", 2 * SAFE_SECONDS)
    used = cache_folder(tmp_path, "bb")
    (used / "images.npy").write_bytes(os.urandom(FILE_BYTES))
    assert cache_folder(tmp_path, "bb") == used
    assert not old.exists()
    assert used.exists()
