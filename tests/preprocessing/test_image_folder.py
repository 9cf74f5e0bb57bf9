"""A person uploads pictures in class folders."""

import hashlib
import io
import zipfile

import pytest
from PIL import Image

from tests.preprocessing.uploads import Workplace, folders, picture, zip_bytes
from workers.preprocessing.layout import read_layout
from workers.preprocessing.limits import Limits


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def test_a_zip_of_class_folders_becomes_a_data_set(place):
    entries = folders(classes=("cats", "dogs", "owls"), count=10)
    done = place.prepare({"pets.zip": zip_bytes(entries)})
    assert done.report["kind"] == "image_folder"
    assert done.report["task"] == "image_classification"
    assert done.classes == {"cats": 10, "dogs": 10, "owls": 10}
    assert done.report["splits"] == {"train": 24, "val": 3, "test": 3}
    assert done.report["split_source"] == "stratified"
    assert (done.report["bad_total"], done.report["ignored"], done.report["items"]) == (0, 0, 30)


def test_the_index_leads_to_the_original_bytes(place):
    entries = folders()
    done = place.prepare({"pets.zip": zip_bytes(entries)})
    with zipfile.ZipFile(done.output / "data.zip") as archive:
        assert len(archive.namelist()) == len(done.images) == 20
        for image in done.images:
            data = archive.read(image["member"])
            assert data == entries[image["source"].removeprefix("pets.zip/")]
            assert image["sha256"] == hashlib.sha256(data).hexdigest()
            assert (image["width"], image["height"]) == (8, 6)
            assert archive.getinfo(image["member"]).compress_type == zipfile.ZIP_STORED
    assert done.report["data_bytes"] == (done.output / "data.zip").stat().st_size


def test_the_users_split_folders_are_kept(place):
    entries = (
        folders("data/train/", count=8)
        | folders("data/Valid/", count=3, first=100)
        | folders("data/test/", count=2, first=200)
    )
    done = place.prepare({"pets.zip": zip_bytes(entries)})
    assert done.report["split_source"] == "user"
    assert done.report["splits"] == {"train": 16, "val": 6, "test": 4}
    assert {image["split"] for image in done.images if "/Valid/" in image["source"]} == {"val"}
    assert done.warnings == {"small_classes"}


def test_several_archives_are_split_by_their_names(place):
    uploads = {
        "pets_train.zip": zip_bytes(folders("pets/", count=9)),
        "pets_val.zip": zip_bytes(folders("pets/", count=2, first=100)),
        "pets_test.zip": zip_bytes(folders("pets/", count=3, first=200)),
    }
    assert place.prepare(uploads).report["splits"] == {"train": 18, "val": 4, "test": 6}


def test_an_explicit_split_wins_over_the_name(place):
    uploads = {"a.zip": zip_bytes(folders()), "b_train.zip": zip_bytes(folders(first=100, count=4))}
    done = place.prepare(uploads, splits={"a.zip": "train", "b_train.zip": "test"})
    assert done.report["splits"]["test"] == 8


def test_a_lone_archive_called_train_is_split_like_any_other(place):
    done = place.prepare({"train.zip": zip_bytes(folders())})
    assert done.report["split_source"] == "stratified"
    assert done.report["splits"]["test"] == 2


def test_a_missing_part_is_carved_out_of_train_and_said(place):
    entries = folders("train/", count=18) | folders("test/", count=5, first=100)
    done = place.prepare({"pets.zip": zip_bytes(entries)})
    assert done.report["splits"] == {"train": 32, "val": 4, "test": 10}
    assert done.warnings == {"val_carved", "small_classes"}
    assert {image["split"] for image in done.images if "/test/" in image["source"]} == {"test"}


def test_loose_files_with_folders_in_their_names_are_class_folders(place):
    done = place.prepare(folders())
    assert done.classes == {"cats": 10, "dogs": 10}
    assert done.images[0]["source"] == "cats/0.png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_allowed_format_is_taken_by_its_content(place, kind):
    mode = "L" if kind == "GIF" else "RGB"
    entries = {
        f"{label}/{n}.png": picture(10 * ord(label) + n, kind=kind, mode=mode) for label in "ab" for n in range(5)
    }
    done = place.prepare({"x.zip": zip_bytes(entries)})
    assert done.report["items"] == 10
    ending = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif"}[kind]
    assert all(image["member"].endswith(ending) for image in done.images)


def test_what_systems_leave_behind_is_ignored_and_counted(place):
    junk = {".DS_Store": b"x", "__MACOSX/cats/._1.png": b"x", "cats/Thumbs.db": b"x", "dogs/.hidden.png": b"x"}
    done = place.prepare({"pets.zip": zip_bytes(folders() | junk), ".DS_Store": b"x"})
    assert (done.report["ignored"], done.report["bad_total"], done.report["items"]) == (5, 0, 20)


def test_bad_files_are_named_with_their_reason(place):
    bad = {
        "cats/fake.png": b"this is text",
        "cats/nothing.png": b"",
        "dogs/cut.png": picture(5, (64, 64))[:-2000],
        "dogs/cut.jpg": picture(5, (64, 64), "JPEG")[:900],
        "dogs/inside.png": zip_bytes({"a.txt": b"x"}),
        "readme.txt": b"hello",
        "stray.png": picture(7),
    }
    done = place.prepare({"pets.zip": zip_bytes(folders() | bad)})
    assert done.bad == {
        "pets.zip/cats/fake.png": "not_an_image",
        "pets.zip/cats/nothing.png": "empty_file",
        "pets.zip/dogs/cut.png": "broken_image",
        "pets.zip/dogs/cut.jpg": "broken_image",
        "pets.zip/dogs/inside.png": "not_an_image",
        "pets.zip/readme.txt": "not_an_image",
        "pets.zip/stray.png": "no_class_folder",
    }
    reasons = {bad["path"]: bad["reason"] for bad in done.report["bad"]}
    assert reasons["pets.zip/cats/fake.png"] == "not an image: its content is text"
    assert "ZIP archive" in reasons["pets.zip/dogs/inside.png"]
    assert done.report["items"] == 20
    assert done.report["bad_total"] == 7


def test_the_list_of_bad_files_is_capped_but_all_are_counted(place):
    junk = {f"cats/{n}.txt": b"x" for n in range(30)}
    done = place.prepare({"pets.zip": zip_bytes(folders() | junk)}, limits=Limits(max_bad_listed=10))
    assert (len(done.report["bad"]), done.report["bad_total"]) == (10, 30)


def test_a_file_over_the_size_limit_is_named(place):
    entries = folders() | {"cats/huge.bmp": picture(1, (100, 100), "BMP")}
    done = place.prepare({"pets.zip": zip_bytes(entries)}, limits=Limits(max_entry_bytes=20_000))
    assert done.bad == {"pets.zip/cats/huge.bmp": "file_too_large"}


def test_one_class_is_refused_by_name(place):
    failure = place.refusal({"pets.zip": zip_bytes(folders(classes=["cats"]))})
    assert failure.code == "one_class"
    assert failure.message == 'Found one class, "cats".'
    assert "at least two classes in folders of their own" in failure.hint


def test_small_classes_are_refused_with_their_counts(place):
    entries = (
        folders(count=6) | folders(classes=["owls"], count=4, first=500) | folders(classes=["emus"], count=1, first=600)
    )
    failure = place.refusal({"pets.zip": zip_bytes(entries)})
    assert failure.code == "class_too_small"
    assert "emus (1), owls (4)" in failure.message


def test_a_class_that_is_too_small_because_of_bad_files_says_so(place):
    entries = folders(count=5) | {"cats/0.png": b"text"}
    failure = place.refusal({"pets.zip": zip_bytes(entries)})
    assert failure.code == "class_too_small"
    assert "pets.zip/cats/0.png: not an image" in failure.message


def test_images_without_class_folders_are_refused(place):
    failure = place.refusal({"pets.zip": zip_bytes({f"{n}.png": picture(n) for n in range(9)})})
    assert failure.code == "no_class_folders"


def test_an_upload_with_no_sound_image_is_refused_with_an_example(place):
    failure = place.refusal({"pets.zip": zip_bytes({"cats/a.png": b"text", "dogs/b.png": b"text"})})
    assert failure.code == "no_images"
    assert "cats/a.png" in failure.message


def test_a_training_part_of_one_class_is_refused(place):
    entries = folders("train/", classes=["cats"]) | folders("test/", first=100)
    failure = place.refusal({"pets.zip": zip_bytes(entries)})
    assert (failure.code, "training part" in failure.message) == ("one_class", True)


def test_a_test_part_without_train_is_refused(place):
    failure = place.refusal({"pets.zip": zip_bytes(folders("test/") | folders("val/", first=100))})
    assert failure.code == "no_train_split"


def test_copies_stay_on_one_side_and_are_counted(place):
    entries = folders(count=12) | {f"cats/copy{n}.png": picture(3) for n in range(3)}
    done = place.prepare({"pets.zip": zip_bytes(entries)})
    splits = {image["split"] for image in done.images if image["sha256"] == hashlib.sha256(picture(3)).hexdigest()}
    assert len(splits) == 1
    assert done.warnings == {"duplicates", "small_classes"}


def test_copies_across_the_users_own_split_and_classes_are_told(place):
    entries = folders("train/") | folders("test/", count=5, first=500)
    entries |= {"test/cats/leak.png": picture(0), "train/dogs/torn.png": picture(0)}
    done = place.prepare({"pets.zip": zip_bytes(entries)})
    assert done.warnings == {
        "val_carved",
        "duplicates",
        "duplicate_across_splits",
        "conflicting_labels",
        "small_classes",
    }


def test_a_class_that_a_split_lacks_is_told(place):
    entries = folders("train/", classes=("cats", "dogs", "owls")) | folders("test/", count=5, first=500)
    done = place.prepare({"pets.zip": zip_bytes(entries)})
    assert [w["message"] for w in done.report["findings"] if w["code"] == "class_missing_in_split"] == [
        "The test part has none of the class owls."
    ]


def test_thumbnails_are_small_rgb_png_and_few(place):
    entries = folders(classes=("a", "b"), count=20) | folders(classes=("c",), count=5, first=700)
    entries |= {"a/wide.png": picture(1, (300, 30), mode="RGBA"), "b/deep.png": picture(2, (40, 200), mode="I;16")}
    done = place.prepare({"x.zip": zip_bytes(entries)}, limits=Limits(thumbnails_per_class=30))
    labels = [thumbnail["label"] for thumbnail in done.report["thumbnails"]]
    assert {label: labels.count(label) for label in "abc"} == {"a": 21, "b": 21, "c": 5}
    for thumbnail in done.report["thumbnails"]:
        image = Image.open(io.BytesIO((done.output / thumbnail["file"]).read_bytes()), formats=["PNG"])
        assert (image.mode, max(image.size) <= 96) == ("RGB", True)


def test_there_are_at_most_eight_thumbnails_of_at_most_forty_classes(place):
    entries = {f"{label:02d}/{n}.png": picture(label * 100 + n, (2, 2)) for label in range(42) for n in range(9)}
    done = place.prepare({"x.zip": zip_bytes(entries)})
    labels = [thumbnail["label"] for thumbnail in done.report["thumbnails"]]
    assert len(labels) == 320
    assert set(labels) == {f"{label:02d}" for label in range(40)}


def test_equal_data_has_an_equal_hash_and_split_whatever_the_order_and_names(place):
    entries = folders(count=12)
    backwards = {name.replace(".png", "x.png"): data for name, data in reversed(entries.items())}
    one = place.prepare({"a.zip": zip_bytes(entries)})
    two = place.prepare({"wrap.zip": zip_bytes({f"deep/er/{name}": data for name, data in backwards.items()})})
    assert one.report["content_hash"] == two.report["content_hash"]
    assert {i["sha256"]: i["split"] for i in one.images} == {i["sha256"]: i["split"] for i in two.images}
    other_seed = place.prepare({"a.zip": zip_bytes(entries)}, seed=1)
    assert other_seed.report["content_hash"] != one.report["content_hash"]


def test_equal_uploads_give_an_equal_data_zip(place):
    uploads = {"b.zip": zip_bytes(folders(first=50)), "a.zip": zip_bytes(folders())}
    one, two = place.prepare(uploads), place.prepare(dict(reversed(uploads.items())))
    assert (one.output / "data.zip").read_bytes() == (two.output / "data.zip").read_bytes()


def test_classes_stand_in_natural_order(place):
    done = place.prepare({"x.zip": zip_bytes(folders(classes=("10", "9", "1"), count=5))})
    assert list(done.classes) == ["1", "9", "10"]


def labels_and_splits(*paths):
    return [(place.label, place.split) for place in read_layout(paths)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["cats/1.png", "dogs/1.png"], [("cats", None), ("dogs", None)]),
        (["a/b/cats/1.png", "a/b/dogs/1.png", "a/b/2.png"], [("cats", None), ("dogs", None), (None, None)]),
        (["train/cats/1.png", "test/cats/1.png"], [("cats", "train"), ("cats", "test")]),
        (["w/TRAIN/cats/1.png", "w/validation/dogs/1.png"], [("cats", "train"), ("dogs", "val")]),
        (["w/train/cats/1.png"], [("cats", "train")]),
        (["cats/1.png", "cats/2.png"], [("cats", None), ("cats", None)]),
        (["w/cats/1.png", "w/cats/2.png"], [("cats", None), ("cats", None)]),
        (["train/1.png", "test/2.png"], [(None, "train"), (None, "test")]),
        (["train/1.png", "train/2.png"], [(None, "train"), (None, "train")]),
        (["train/1.png", "plane/2.png"], [("train", None), ("plane", None)]),
        (["cats/train/1.png", "dogs/test/2.png"], [("cats", "train"), ("dogs", "test")]),
        (["train/pets/cats/1.png", "train/wild/owls/1.png"], [("cats", "train"), ("owls", "train")]),
        (["1.png", "2.png"], [(None, None), (None, None)]),
        (["caf\u00e9/1.png", "cafe\u0301/2.png", "bar/3.png"], [("café", None), ("café", None), ("bar", None)]),
    ],
)
def test_folders_mean_wrapping_split_and_class(paths, expected):
    assert labels_and_splits(*paths) == expected
