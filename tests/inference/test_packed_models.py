"""A packed graph: byte for byte what was packed, refused where it is damaged, and served like any other."""

import hashlib
import lzma
import tracemalloc

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper, numpy_helper

from tests.inference.models import image_model, png
from workers.compression.measuring import serving_bytes
from workers.contract import ProgramFailure
from workers.inference import packing
from workers.inference.files import read_meta
from workers.inference.predictor import load_predictor

DTYPES = (np.float32, np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_)


def graph_of(*values) -> bytes:
    """An ONNX file with these initializers: arrays, or TensorProtos."""
    tensors = [
        value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), f"t{number}")
        for number, value in enumerate(values)
    ]
    return helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString()


@st.composite
def weights(draw) -> np.ndarray:
    """Arrays of every kind, with few values, many zeros, neither; empty and scalar ones among them."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.one_of(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=8), st.just((40, 50))))
    if np.prod(shape) < 600:
        return draw(arrays(dtype, shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = rng.normal(0, 40, shape)
    values[rng.random(shape) < draw(st.sampled_from([0.0, 0.6, 0.99]))] = 0
    return np.round(values, draw(st.sampled_from([-1, 0, 6]))).astype(dtype)


def int4(count: int) -> TensorProto:
    rng = np.random.default_rng(count)
    codes = rng.integers(0, 256, -(-count // 2), dtype=np.uint8).tobytes()
    return helper.make_tensor("codes", TensorProto.INT4, [count], codes, raw=True)


@settings(max_examples=150)
@given(st.lists(weights(), max_size=4))
def test_what_is_unpacked_is_what_was_packed(values):
    body = graph_of(*values)
    assert packing.unpack(packing.pack_bytes(body)) == body


@pytest.mark.parametrize("count", [1, 2, 4001])
def test_numbers_of_4_bits_and_numbers_that_are_not_raw_bytes_come_back(count):
    floats = helper.make_tensor("f", TensorProto.FLOAT, [count], [float(number % 5) for number in range(count)])
    body = graph_of(int4(count), floats, np.float32(3))
    assert packing.unpack(packing.pack_bytes(body)) == body


@given(st.binary(max_size=300))
def test_what_is_no_graph_at_all_comes_back_too(body):
    assert packing.unpack(packing.pack_bytes(body)) == body


def typical() -> bytes:
    """One tensor for each coding."""
    rng = np.random.default_rng(0)
    few = rng.integers(0, 12, (60, 60)).astype(np.float32) / 7
    sparse = np.where(rng.random((60, 60)) < 0.9, 0, rng.normal(size=(60, 60))).astype(np.float32)
    plain = rng.normal(size=(60, 60)).astype(np.float32)
    return graph_of(few, sparse, plain, rng.integers(-9, 9, (60, 60)).astype(np.int8))


@pytest.fixture(scope="module")
def packed() -> bytes:
    return packing.pack_bytes(typical())


@given(data=st.data())
@settings(max_examples=300)
def test_any_flipped_bit_is_noticed(packed, data):
    place, bit = data.draw(st.integers(0, len(packed) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(packed)
    damaged[place] ^= 1 << bit
    with pytest.raises(ValueError, match="packed model"):
        packing.unpack(bytes(damaged))


@given(data=st.data())
def test_a_file_that_ends_early_or_late_is_refused(packed, data):
    cut = data.draw(st.integers(0, len(packed) - 1))
    for damaged in (packed[:cut], packed + b"\0"):
        with pytest.raises(ValueError, match="packed model"):
            packing.unpack(damaged)


def signed(rest: bytes) -> bytes:
    """A file whose checksum is right, as whoever wants to harm would make it."""
    return packing.MAGIC + bytes([packing.VERSION]) + hashlib.sha256(rest).digest() + rest


@given(data=st.data())
@settings(max_examples=300)
def test_damage_under_a_right_checksum_ends_in_a_sentence_too(packed, data):
    rest = bytearray(packed[37:])
    for _ in range(data.draw(st.integers(1, 4))):
        rest[data.draw(st.integers(0, len(rest) - 1))] = data.draw(st.integers(0, 255))
    if bytes(rest) == packed[37:]:
        return
    try:
        assert packing.unpack(signed(bytes(rest))) == typical()  # a bit that the decoder does not look at
    except ValueError as error:
        assert "packed model" in str(error)


def bomb(claimed: int, real: int) -> bytes:
    """A file that says it becomes `claimed` bytes, with a part that becomes `real`."""
    zeros = lzma.compress(bytes(real), lzma.FORMAT_RAW, filters=packing.FILTERS)
    head = packing.HEAD.pack(claimed, 0, 1) + packing.SEGMENT.pack(packing.LITERAL, 1, claimed)
    return signed(head + packing.PART.pack(packing.LZMA, len(zeros)) + zeros)


def test_a_bomb_is_not_believed():
    with pytest.raises(ValueError, match="not believed"):
        packing.unpack(bomb(2**30, 2**24))


def test_a_part_that_becomes_more_than_it_says_is_refused():
    with pytest.raises(ValueError, match="another size than it says"):
        packing.unpack(bomb(1000, 2**24))


def test_no_more_memory_is_taken_than_a_part_says():
    """But for the 4 MiB window of the decoder."""
    file = bomb(1000, 2**25)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="packed model"):
            packing.unpack(file)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**24


def part(body: bytes) -> bytes:
    return packing.PART.pack(packing.STORED, len(body)) + body


def lie(coding: int, width: int, size: int, rest: bytes) -> bytes:
    """A file of 8 bytes, it says, with one segment."""
    return signed(packing.HEAD.pack(8, 0, 1) + packing.SEGMENT.pack(coding, width, size) + rest)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (lie(packing.LITERAL, 1, 2**40, part(bytes(8))), "size of a segment"),
        (lie(packing.PLANES, 4, 6, part(bytes(8))), "size of a segment"),
        (lie(packing.PLANES, 3, 6, part(bytes(8))), "size of a segment"),
        (lie(9, 1, 8, part(bytes(8))), "segment of the unknown kind 9"),
        (lie(packing.LITERAL, 1, 8, packing.PART.pack(7, 8) + bytes(8)), "part of the unknown kind 7"),
        (lie(packing.CODEBOOK, 1, 8, packing.VALUES.pack(2) + part(b"abc") + part(b"\xff\xff")), "not in its codebook"),
        (lie(packing.CODEBOOK, 1, 8, packing.VALUES.pack(999) + part(b"abc")), "codebook is too long"),
        (lie(packing.ZEROS, 1, 8, packing.COUNT.pack(3) + part(b"\xff") + part(b"abc")), "places of zeros"),
        (lie(packing.LITERAL, 1, 7, part(bytes(7))), "do not make the whole"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_lie_about_a_segment_is_found(file, words):
    with pytest.raises(ValueError, match=words):
        packing.unpack(file)


def test_a_later_version_is_named(packed):
    with pytest.raises(ValueError, match="version 2; this program reads version 1"):
        packing.unpack(packing.MAGIC + b"\2" + packed[5:])


def test_it_is_kept_only_where_it_is_smaller(tmp_path):
    rng = np.random.default_rng(0)
    for body, is_worth_it in (
        (graph_of(rng.integers(0, 256, 20_000, dtype=np.uint8)), False),
        (graph_of(rng.integers(0, 4, 20_000, dtype=np.uint8)), True),
    ):
        source, target = tmp_path / "model.onnx", tmp_path / f"{is_worth_it}.packed"
        source.write_bytes(body)
        assert packing.pack(source, target) is is_worth_it
        assert target.exists() is is_worth_it
    assert target.stat().st_size < len(body) / 3


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        (np.tile(np.arange(12, dtype=np.float32) / 7, 400), packing.CODEBOOK),
        (np.where(np.arange(5000) % 50, 0, np.arange(5000) / 7).astype(np.float32), packing.ZEROS),
        (np.random.default_rng(0).normal(size=5000).astype(np.float32), packing.PLANES),
    ],
)
def test_each_kind_of_weights_gets_its_coding(values, coding):
    packed = packing.pack_bytes(graph_of(values))
    first = 37 + packing.HEAD.size
    _kind, _width, _size = packing.SEGMENT.unpack_from(packed, first)
    (length,) = packing.COUNT.unpack_from(packed, first + packing.SEGMENT.size + 1)
    assert packed[first + packing.SEGMENT.size + packing.PART.size + length] == coding


def test_a_packed_model_is_served_like_any_other(tmp_path):
    folder = image_model(tmp_path / "model")
    answers = load_predictor(folder, 1).predict([png(200)])[0]
    before = serving_bytes(folder, read_meta(folder))
    assert packing.pack(folder / "model.onnx", folder / "model.onnx.packed")
    (folder / "model.onnx").unlink()
    assert np.array_equal(load_predictor(folder, 1).predict([png(200)])[0], answers)
    assert serving_bytes(folder, read_meta(folder)) < before


def test_a_damaged_packed_model_gets_a_sentence(tmp_path):
    folder = image_model(tmp_path / "model")
    packed = bytearray(packing.pack_bytes((folder / "model.onnx").read_bytes()))
    packed[60] ^= 1
    (folder / "model.onnx").unlink()
    (folder / "model.onnx.packed").write_bytes(packed)
    with pytest.raises(ProgramFailure) as told:
        load_predictor(folder, 1)
    assert told.value.code == "damaged_model" and "checksum" in told.value.message


def test_onnx_reads_what_was_unpacked():
    graph = onnx.load_from_string(packing.unpack(packing.pack_bytes(typical()))).graph
    assert [list(item.dims) for item in graph.initializer] == [[60, 60]] * 4
