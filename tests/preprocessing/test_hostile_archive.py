"""A stranger uploads an archive that was made to do harm: it is refused as a whole, by code and sentence."""

import random
import stat
import struct
import zipfile

import pytest

from tests.preprocessing.uploads import Workplace, folders, picture, zip_bytes
from workers.contract import ProgramFailure
from workers.preprocessing.archives import Archive
from workers.preprocessing.limits import DEFAULT_LIMITS, Limits


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def with_name(name: str) -> bytes:
    """A zip whose second entry has exactly this name, whatever zipfile thinks of it."""
    stand_in = "N" * len(name.encode())
    return zip_bytes(folders() | {stand_in: b"x"}).replace(stand_in.encode(), name.encode())


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "cats/../../evil.png",
        "/etc/evil.png",
        "//host/share/evil.png",
        "C:/evil.png",
        "c:evil.png",
        "..\\evil.png",
        "cats\\evil.png",
        "\\evil.png",
        "cats/..",
        "cats/a\0b.png",
        "cats/a\nb.png",
    ],
)
def test_a_path_that_leaves_its_folder_is_refused(place, name):
    failure = place.refusal({"pets.zip": with_name(name)})
    assert failure.code == "unsafe_path"
    assert "pets.zip" in failure.message


def test_the_name_of_a_loose_file_is_checked_too(place):
    assert place.refusal(folders() | {"../cats/1.png": picture(1)}).code == "unsafe_path"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(place, kind):
    link = zipfile.ZipInfo("cats/link.png")
    link.external_attr = (kind | 0o777) << 16
    failure = place.refusal({"pets.zip": zip_bytes([*folders().items(), (link, b"/etc/passwd")])})
    assert (failure.code, "cats/link.png" in failure.message) == ("symlink", True)


def test_an_encrypted_archive_is_refused(place):
    data = bytearray(zip_bytes({"cats/1.png": picture(1)}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    assert place.refusal({"pets.zip": bytes(data)}).code == "encrypted_archive"


@pytest.mark.parametrize("cut", [10, 200, 1500])
def test_a_truncated_archive_is_refused(place, cut):
    failure = place.refusal({"pets.zip": zip_bytes(folders())[:-cut]})
    assert (failure.code, "pets.zip" in failure.message) == ("corrupt_archive", True)


def test_an_archive_with_damaged_content_names_the_file(place):
    data = zip_bytes(folders(), zipfile.ZIP_STORED)
    inside = data.index(picture(4)) + 30
    failure = place.refusal({"pets.zip": data[:inside] + bytes([data[inside] ^ 255]) + data[inside + 1 :]})
    assert failure.code == "corrupt_archive"
    assert "cats/4.png" in failure.message


def test_a_file_that_is_no_archive_is_refused(place):
    assert place.refusal({"pets.zip": b"hello, I am text"}).code == "corrupt_archive"


def test_an_empty_file_and_an_empty_archive_are_refused(place):
    assert place.refusal({"pets.zip": b""}).code == "empty_file"
    assert place.refusal({"pets.zip": zip_bytes({})}).code == "empty_archive"
    assert place.refusal({"pets.zip": zip_bytes({".DS_Store": b"x"})}).code == "empty_archive"


def test_a_bomb_is_refused_by_its_declared_size_before_it_is_opened(place):
    bomb = zip_bytes(folders() | {"cats/bomb.png": bytes(3_000_000)})
    failure = place.refusal({"pets.zip": bomb}, limits=Limits(ratio_counts_above_bytes=1_000_000))
    assert failure.code == "zip_bomb"


def test_a_bomb_that_lies_about_its_size_is_refused_too(place):
    bomb = zip_bytes({"cats/bomb.png": bytes(3_000_000)})
    liar = bomb.replace(struct.pack("<L", 3_000_000), struct.pack("<L", 500))
    assert liar != bomb
    assert place.refusal({"pets.zip": liar}).code == "corrupt_archive"


def test_real_bytes_count_towards_the_limit_over_all_entries(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes({f"{n}.bin": bytes(1000) for n in range(10)}))
    with Archive(path, "a.zip", Limits(max_unpacked_bytes=10_000)) as archive:
        for name in archive.entries:
            archive.read(name)
        with pytest.raises(ProgramFailure) as caught:
            archive.read("0.bin")
    assert caught.value.code == "zip_bomb"


def test_an_entry_is_never_read_beyond_its_cap(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zip_bytes({"big.png": bytes(5_000_000)}))
    with Archive(path, "a.zip", Limits(max_entry_bytes=1000)) as archive:
        assert len(archive.read("big.png")) == 1001


def test_overlapping_entries_do_not_multiply_bytes_unseen(place):
    """The better bomb: many directory entries that point at one block of data."""
    kernel = zip_bytes({"cats/0.png": bytes(1_000_000)})
    start = kernel.index(b"PK\x01\x02")
    end = kernel.index(b"PK\x05\x06")
    entry = kernel[start:end]
    count = 500
    directory = b"".join(entry.replace(b"cats/0.png", b"cats/%d.png" % (n % 10)) for n in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    failure = place.refusal({"pets.zip": kernel[:start] + directory + tail})
    assert failure.code == "zip_bomb"


@pytest.mark.parametrize("name", ["cats/inner.zip", "inner.ZIP", "more.tar.gz", "x.7z", "y.rar"])
def test_an_archive_in_the_archive_is_named_and_never_opened(place, name):
    inner = zip_bytes({"bomb.png": bytes(100_000)})
    failure = place.refusal({"pets.zip": zip_bytes(folders() | {name: inner})})
    assert (failure.code, name in failure.message) == ("nested_archive", True)


def test_too_many_files_are_refused_in_one_archive_and_in_all(place):
    entries = zip_bytes(folders(count=5))
    assert place.refusal({"pets.zip": entries}, limits=Limits(max_files=9)).code == "too_many_files"
    uploads = {"a.zip": entries, "b.zip": zip_bytes(folders(count=5, first=50))}
    assert place.refusal(uploads, limits=Limits(max_files=19)).code == "too_many_files"


def test_more_than_ten_thousand_files_are_fine(tmp_path):
    path = tmp_path / "many.zip"
    path.write_bytes(zip_bytes({f"{'ab'[n % 2]}/{n}.png": b"%d" % n for n in range(10_500)}, zipfile.ZIP_STORED))
    with Archive(path, "many.zip", DEFAULT_LIMITS) as archive:
        assert len(archive.entries) == 10_500
        assert archive.read("a/10498.png") == b"10498"


def test_a_directory_that_claims_more_than_the_file_holds_is_not_read(place):
    data = bytearray(zip_bytes(folders()))
    struct.pack_into("<L", data, data.rindex(b"PK\x05\x06") + 12, 0x7FFFFFFF)
    assert place.refusal({"pets.zip": bytes(data)}).code == "corrupt_archive"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_whose_output_cannot_be_bounded_is_refused(place, method):
    assert place.refusal({"pets.zip": zip_bytes(folders(), method)}).code == "unsupported_compression"


def test_the_same_name_twice_is_refused(place):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zip_bytes([*folders().items(), ("cats/1.png", picture(99))])
    failure = place.refusal({"pets.zip": data})
    assert (failure.code, "cats/1.png" in failure.message) == ("same_name_twice", True)


def test_nothing_is_written_outside_the_work_folder(place, tmp_path):
    place.refusal({"pets.zip": with_name("../../../escape.png")})
    assert not list(tmp_path.rglob("escape*"))


def outcome(path) -> str:
    """What reading the whole archive ends in: "read", or the code of a refusal; anything else is an error."""
    try:
        with Archive(path, "a.zip", DEFAULT_LIMITS) as archive:
            assert all(len(archive.read(name)) <= 400 for name in archive.entries)
    except ProgramFailure as failure:
        assert failure.message.startswith("a.zip")
        return failure.code
    return "read"


def test_flipped_bytes_end_in_a_sentence_or_are_read(tmp_path):
    path = tmp_path / "a.zip"
    whole = zip_bytes({f"cats/{n}.txt": random.Random(n).randbytes(400) for n in range(3)})
    outcomes = []
    for seed in range(400):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        path.write_bytes(data)
        outcomes.append(outcome(path))
    assert outcomes.count("corrupt_archive") > 200
    assert {"unsafe_path", "encrypted_archive", "unsupported_compression", "symlink"} & set(outcomes)
