"""Preparing changes nothing that a model sees: what was uploaded and what is asked later are read alike."""

import zipfile

from hypothesis import given
from hypothesis import strategies as st

from tests.preprocessing.uploads import Workplace, picture, zip_bytes
from workers.images import decode
from workers.preprocessing.cleaning import clean_value
from workers.texts import TextEncoder

ENCODER = TextEncoder(64, 256, 256, 200, 40)


@given(st.text(max_size=60).filter(lambda text: text.strip()))
def test_a_text_is_the_same_ids_as_it_was_written_and_as_it_is_kept(text):
    kept = clean_value(text, with_missing_words=False)
    assert ENCODER.ids(text).tolist() == ENCODER.ids(kept).tolist()


def test_an_image_is_the_same_pixels_as_it_was_uploaded_and_as_it_is_kept(tmp_path):
    uploaded = {f"{label}/{number}.png": picture(number) for number in range(10) for label in ["ab"[number % 2]]}
    done = Workplace(tmp_path).prepare({"pets.zip": zip_bytes(uploaded)})
    with zipfile.ZipFile(done.output / "data.zip") as archive:
        for image in done.images:
            body = uploaded[image["source"].removeprefix("pets.zip/")]
            assert archive.read(image["member"]) == body
            assert (decode(archive.read(image["member"]), 24, 24, 3) == decode(body, 24, 24, 3)).all()
