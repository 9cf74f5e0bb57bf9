"""A file becomes what a model hears: the same sound is the same, whatever its format, loudness and sampling rate."""

import io
from math import gcd
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from tests.audio.making import encoded, tone
from workers import audio
from workers.audio import BANDS, decode, fit, frames_of, hear, resample, spectrogram
from workers.contract import ProgramFailure

RATE = 16_000


@pytest.mark.parametrize(("kind", "off_by"), [("WAV", 1e-4), ("FLAC", 1e-4), ("AIFF", 1e-4), ("OGG", 0.05)])
def test_every_format_gives_the_samples_that_were_written(kind, off_by):
    samples = tone(440, rate=RATE)
    heard = decode(encoded(samples, kind, RATE), RATE)
    assert heard.dtype == np.float32 and len(heard) == len(samples)
    assert np.abs(heard - samples).max() < off_by


def test_an_mp3_holds_the_same_tone():
    heard = decode(encoded(tone(440, rate=RATE, seconds=1), "MP3", RATE), RATE)
    assert peak(heard, RATE) == pytest.approx(peak(tone(440, rate=RATE, seconds=1), RATE), abs=5)


def peak(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency in hertz."""
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[np.abs(np.fft.rfft(samples)).argmax()])


def test_channels_are_averaged():
    left, right = tone(300, seed=1, rate=RATE), tone(900, seed=2, rate=RATE)
    heard = decode(encoded(np.stack([left, right], axis=1), "FLAC", RATE), RATE)
    assert np.abs(heard - (left + right) / 2).max() < 1e-3


@pytest.mark.parametrize("source", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_another_sampling_rate_keeps_length_and_pitch(source):
    samples = tone(1000, rate=source, seconds=1)
    heard = resample(samples, source, RATE)
    assert len(heard) == pytest.approx(RATE, abs=1)
    assert peak(heard, RATE) == pytest.approx(peak(samples, source), abs=2)


@given(st.integers(1, 4000), st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]), st.sampled_from([8_000, RATE]))
@settings(max_examples=40)
def test_resampling_is_what_scipy_gives(count, source, rate):
    samples = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    divisor = gcd(source, rate)
    expected = resample_poly(samples, rate // divisor, source // divisor) if source != rate else samples
    np.testing.assert_allclose(resample(samples, source, rate), expected, atol=2e-5)


def test_what_is_too_high_for_the_rate_is_left_out_and_not_folded_down():
    heard = resample(tone(6000, rate=48_000, seconds=1, loudness=0.5), 48_000, 8_000)
    assert np.abs(heard[400:-400]).max() < 0.05


def test_loudness_makes_no_difference():
    samples = tone(440, rate=RATE)
    difference = spectrogram(samples, RATE).astype(int) - spectrogram(0.05 * samples, RATE).astype(int)
    assert np.abs(difference).max() <= 1


def test_a_higher_tone_lies_in_a_higher_band():
    bands = [spectrogram(tone(pitch, rate=RATE), RATE).sum(axis=0).argmax() for pitch in (100, 300, 900, 2700, 7000)]
    assert bands == sorted(set(bands))
    # 1,000 Hz are 1,000 mel, of 2,840 at half of the rate: the lowest band begins at 62.
    mel = spectrogram(tone(1000, rate=RATE), RATE).sum(axis=0).argmax()
    assert mel == pytest.approx((1000 - 62) / (2840 - 62) * (BANDS + 1) - 1, abs=2.5)


def test_silence_is_heard_as_nothing():
    assert not spectrogram(np.zeros(RATE, np.float32), RATE).any()


def test_the_loudest_part_of_a_long_recording_is_heard():
    samples = np.zeros(3 * RATE, np.float32)
    samples[2 * RATE : 2 * RATE + 4000] = tone(440, rate=RATE, seconds=0.25)
    heard = fit(samples, RATE)
    assert len(heard) == RATE and np.square(heard).sum() == pytest.approx(np.square(samples).sum())


def test_a_short_recording_stands_in_the_middle_of_silence():
    assert fit(np.ones(3, np.float32), 8).tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


@given(st.integers(0, 5000), st.integers(1, 9000), st.sampled_from([8_000, 16_000, 32_000]))
@settings(max_examples=40)
def test_what_a_model_hears_always_has_its_shape(count, length, rate):
    samples = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    assert spectrogram(fit(samples, length), rate).shape == (frames_of(length, rate), BANDS)


@given(st.binary(max_size=200), st.sampled_from([b"", b"RIFF\xff\xff\xff\x7fWAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0\2"]))
@settings(max_examples=150)
def test_bytes_that_are_no_recording_are_refused_in_words(body, head):
    try:
        hear(head + body, RATE, RATE)
    except ProgramFailure as failure:
        assert failure.code in ("empty_body", "undecodable_audio") and failure.message.endswith(".")


def test_a_recording_that_ends_early_is_heard_as_far_as_it_goes():
    body = encoded(tone(440, rate=RATE, seconds=1), "WAV", RATE)
    assert 0 < len(decode(body[: len(body) // 2], RATE)) < RATE


def test_a_recording_of_hours_is_refused_before_it_fills_the_memory():
    with pytest.raises(ProgramFailure) as caught:
        decode(encoded(np.zeros(1000 * 601, np.float32), "FLAC", 1000), RATE)
    assert caught.value.code == "audio_too_long"


@pytest.mark.parametrize("scale", [32_767, 1e38])
def test_samples_on_another_scale_are_the_same_sound(scale):
    wave = tone(440, rate=RATE)
    out = io.BytesIO()
    soundfile.write(out, wave * np.float32(scale), RATE, format="WAV", subtype="FLOAT")
    heard = decode(out.getvalue(), RATE)
    assert np.abs(heard).max() == pytest.approx(1)
    assert np.array_equal(spectrogram(heard, RATE), spectrogram(wave / np.abs(wave).max(), RATE))


def test_a_rate_that_nobody_can_hear_needs_no_more_memory(monkeypatch):
    """A FLAC of silence has a thousandth of the bytes that it becomes."""
    monkeypatch.setattr("workers.audio.MOST_SAMPLES", 100_000)
    assert len(decode(encoded(np.zeros(100_000, np.float32), "FLAC", 96_000), RATE)) == pytest.approx(16_667, abs=1)
    with pytest.raises(ProgramFailure) as caught:
        decode(encoded(np.zeros(300_000, np.float32), "FLAC", 96_000), RATE)
    assert caught.value.code == "audio_too_long" and "0.0174 minutes" in caught.value.message


@pytest.mark.parametrize("source", [1_009, 44_101, 96_013, 383_987])
def test_an_odd_rate_costs_no_filter_of_its_own_size(source, monkeypatch):
    low_pass = Mock(wraps=audio._low_pass)
    monkeypatch.setattr(audio, "_low_pass", low_pass)
    samples = tone(300, rate=source, seconds=0.5)
    heard = resample(samples, source, RATE)
    assert len(heard) == pytest.approx(RATE / 2, rel=1e-3)
    assert peak(heard, RATE) == pytest.approx(peak(samples, source), abs=2.5)
    asked = [call.args for call in low_pass.call_args_list]
    assert asked and all(down <= 2_000 for _up, down in asked)


@pytest.mark.parametrize("kind", ["CAF", "AU", "W64", "PAF"])
def test_what_only_the_library_knows_is_no_recording(kind):
    with pytest.raises(ProgramFailure) as caught:
        decode(encoded(tone(440, rate=RATE), kind, RATE), RATE)
    assert caught.value.code == "undecodable_audio"
