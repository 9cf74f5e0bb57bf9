"""Samples as the log-mel spectrograms that Whisper hears (Radford et al. 2023, "Robust Speech Recognition via
Large-Scale Weak Supervision", section 2.2), as a part of a network, so that a graph hears what the training heard."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from workers.inference.hearing import LOUDEST

HIGHEST_HERTZ = 8000.0
LEAST, RANGE = 1e-10, 8.0  # of a power, and of its decimal logarithm below the loudest


class LogMel(nn.Module):
    """Samples [N, S] to 32,767 as [N, bands, S / hop]: power of Hann windows of `window` samples, one each `hop`, in
    `bands` of the mel scale (Slaney 1998); log10 of it, at most 8 below the loudest, plus 4, divided by 4.

    The Fourier transform is a convolution with its sines and cosines, which every runtime of graphs has.
    """

    def __init__(self, *, bands: int, window: int, hop: int, rate: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        angles = torch.arange(window // 2 + 1)[:, None] * torch.arange(window) * (2 * math.pi / window)
        waves = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(window)
        filters = mel_filter_bank(
            num_frequency_bins=1 + window // 2, num_mel_filters=bands, min_frequency=0.0, max_frequency=HIGHEST_HERTZ,
            sampling_rate=rate, norm="slaney", mel_scale="slaney",
        )  # fmt: skip
        self.register_buffer("waves", waves[:, None].float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):  # 16 bits would drown what is soft
            return self._heard(samples)

    def _heard(self, samples: Tensor) -> Tensor:
        sounds = F.pad((samples.float() / LOUDEST)[:, None], (self.window // 2, self.window // 2), mode="reflect")
        parts = F.conv1d(sounds, self.waves, stride=self.hop)[:, :, :-1]
        real, imaginary = parts.chunk(2, dim=1)
        mel = (self.filters @ (real.square() + imaginary.square())).clamp(min=LEAST).log10()
        loudest = mel.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(mel, loudest - RANGE) + 4) / 4
