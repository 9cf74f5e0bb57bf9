"""A stored file whose bytes have changed is noticed, and the same file can be stored anew."""

from pathlib import Path

import pytest

from apps.core.storage import DamagedBlob, discard_if_damaged, fetch, open_blob, put_file


@pytest.fixture
def file(tmp_path: Path, settings) -> Path:
    settings.LEPTON_STORAGE_URL = f"file://{tmp_path}/storage"
    path = tmp_path / "weights"
    path.write_bytes(b"as they were trained")
    return path


def damage(sha256: str) -> None:
    with open_blob(sha256) as stored:
        Path(stored.name).write_bytes(b"as no one ever trained")


def test_it_is_found_out_taken_away_and_stored_again(file: Path, tmp_path: Path):
    sha256 = put_file(file).sha256
    damage(sha256)
    with pytest.raises(DamagedBlob):
        fetch(sha256, tmp_path / "arrived", is_checked=True)
    assert discard_if_damaged(sha256)
    put_file(file)
    assert fetch(sha256, tmp_path / "arrived", is_checked=True).read_bytes() == file.read_bytes()


def test_a_sound_one_stays(file: Path):
    sha256 = put_file(file).sha256
    assert not discard_if_damaged(sha256)
    with open_blob(sha256) as stored:
        assert stored.read() == file.read_bytes()


def test_a_file_that_goes_away_while_it_is_stored_is_no_full_storage(file: Path, monkeypatch):
    def take_away(_self, path: str, _target: str) -> None:
        Path(path).unlink()
        raise FileNotFoundError(path)

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.put_file", take_away)
    with pytest.raises(FileNotFoundError):
        put_file(file)
