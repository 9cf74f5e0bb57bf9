"""A stranger uploads an image that was made to do harm: it costs itself, and nothing else."""

import io
import struct
import sys
import zlib

import pytest
from PIL import Image

from tests.preprocessing.uploads import Workplace, folders, picture, zip_bytes
from workers.preprocessing import decoding
from workers.preprocessing.decoding import CRASHED, Decoder, DecoderDied, DecoderPool
from workers.preprocessing.limits import DEFAULT_LIMITS, Limits


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that declare a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    head = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_of_many_scans(pixels: int = 2000, scans: int = 3000) -> bytes:
    """80 KB that keep a JPEG decoder busy for many seconds: the last progressive scan, repeated."""
    out = io.BytesIO()
    Image.new("L", (pixels, pixels), 7).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def decode(images, limits=DEFAULT_LIMITS, mode="check"):
    with DecoderPool(1, limits) as pool:
        return pool.submit(mode, images).result(timeout=60)


def test_image_bombs_are_named_and_the_rest_is_kept(place):
    bombs = {
        "cats/bomb.png": png_that_claims(13_000, 13_000),
        "cats/worse.png": png_that_claims(2**31 - 1, 2**31 - 1),
        "dogs/just_over.png": png_that_claims(5_000, 10_001),
    }
    done = place.prepare({"pets.zip": zip_bytes(folders() | bombs)})
    assert done.bad == {f"pets.zip/{name}": "image_too_large" for name in bombs}
    assert done.report["bad"][0]["reason"] == "more than 50,000,000 pixels: make it smaller"
    assert done.report["items"] == 20


def test_an_image_of_exactly_the_limit_is_fine():
    small = Limits(max_pixels=48)
    assert [fact.code for fact in decode([picture(1), picture(1, (7, 7))], small)] == ["", "image_too_large"]


def test_an_image_that_keeps_its_decoder_busy_is_the_only_one_lost():
    facts = decode([picture(1), jpeg_of_many_scans(), picture(2)], Limits(decoder_cpu_seconds=1))
    assert facts[1] == CRASHED
    assert [(fact.width, fact.height) for fact in (facts[0], facts[2])] == [(8, 6), (8, 6)]


def test_memory_of_the_decoder_is_limited():
    if sys.platform == "darwin":
        pytest.skip("macOS does not enforce RLIMIT_AS")
    big = io.BytesIO()
    Image.new("RGBA", (5_000, 5_000)).save(big, "PNG", compress_level=1)
    facts = decode([picture(1), big.getvalue()], Limits(decoder_memory_bytes=120 * 2**20))
    assert [fact.code for fact in facts] == ["", "image_too_large"]


def test_an_upload_of_nothing_but_crashes_is_given_up(place, monkeypatch):
    def die(self, mode, images):
        raise DecoderDied

    monkeypatch.setattr(Decoder, "decode", die)
    failure = place.refusal({"pets.zip": zip_bytes(folders())}, limits=Limits(max_decoder_crashes=5))
    assert (failure.code, "pets.zip/cats/0.png" in failure.message) == ("too_many_crashes", True)


def test_a_decoder_that_does_not_start_blames_no_image(place, monkeypatch, tmp_path):
    broken = tmp_path / "decoder.py"
    broken.write_text("raise SystemExit(9)")
    monkeypatch.setattr(decoding, "FOLDER", broken.parent)
    with pytest.raises(RuntimeError, match="does not start"):
        place.prepare({"pets.zip": zip_bytes(folders())})


def test_a_decoder_that_died_is_started_again():
    decoder = Decoder(DEFAULT_LIMITS)
    try:
        assert decoder.decode("check", [picture(1)])[0].width == 8
        decoder._process.kill()
        with pytest.raises(DecoderDied):
            decoder.decode("check", [picture(1)])
        assert decoder.decode("check", [picture(1)])[0].width == 8
    finally:
        decoder.finish()


def test_leaving_the_pool_ends_its_children():
    with DecoderPool(2, DEFAULT_LIMITS) as pool:
        for future in [pool.submit("check", [picture(n)]) for n in range(8)]:
            future.result(timeout=60)
        children = [decoder._process for decoder in pool._decoders if decoder._process]
    assert children
    assert all(child.returncode is not None for child in children)


def test_answers_keep_the_order_of_the_images():
    facts = decode([picture(n, (n + 1, 2)) for n in range(20)])
    assert [fact.width for fact in facts] == list(range(1, 21))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "I", "F"])
def test_every_pixel_mode_gives_a_thumbnail(mode):
    kind = "PNG" if mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else "TIFF"
    out = io.BytesIO()
    Image.new(mode, (200, 100)).save(out, kind)
    (fact,) = decode([out.getvalue()], mode="thumbnail")
    image = Image.open(io.BytesIO(fact.body))
    assert (image.size, image.mode) == ((96, 48), "RGB")


def test_a_thumbnail_of_sixteen_bits_keeps_its_greys():
    image = Image.new("I;16", (64, 64))
    for x in range(64):
        image.paste(x * 500, (x, 0, x + 1, 64))
    out = io.BytesIO()
    image.save(out, "PNG")
    (fact,) = decode([out.getvalue()], mode="thumbnail")
    shades = {pixel[0] for pixel in Image.open(io.BytesIO(fact.body)).get_flattened_data()}
    assert len(shades) > 32
