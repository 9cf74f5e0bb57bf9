"""Random changes to batches of spectrograms, as other voices, rooms and microphones would make them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workers.training.batches import Draws


@dataclass(frozen=True)
class AudioAugmentation:
    """How far recordings are changed at random, all as shares: of the time that is heard (`shift`, `hidden_time`), of
    the pace (`speed`), of all bands (`pitch`, `hidden_bands`), and of the range of loudness (`loudness`, `noise`).

    Time and bands are hidden as in SpecAugment (Park et al. 2019), with silence.
    """

    shift: float
    speed: float
    pitch: float
    loudness: float
    noise: float
    hidden_time: float
    hidden_bands: float
    masks: int

    def __call__(self, inputs: tuple[Tensor, ...], draws: Draws) -> tuple[Tensor, ...]:
        """Change (spectrograms uint8 [N, frames, bands, 1],) into (float32 of the same shape, 0 to 255,).

        The numbers are drawn on the CPU, so that a seed makes the same changes on every device.
        """
        sounds = inputs[0][..., 0].float()
        drawn = draws.uniform(6 + 4 * self.masks).to(sounds.device, non_blocking=True)
        floor = draws.uniform(*sounds.shape[1:]).to(sounds.device, non_blocking=True)
        sounds = self._level(self._warp(sounds, drawn[:, :3]), drawn[:, 3:6], floor)
        return (self._hide(sounds, drawn[:, 6:]).unsqueeze(-1),)

    def _warp(self, sounds: Tensor, drawn: Tensor) -> Tensor:
        """Earlier or later, faster or slower, higher or lower."""
        shift, speed, pitch = _spread(drawn).T
        frames, bands = sounds.shape[1:]
        times = _centres(frames, sounds) * torch.exp(speed * self.speed)[:, None] + 2 * self.shift * shift[:, None]
        places = _centres(bands, sounds) + 2 * self.pitch * pitch[:, None]
        grid = torch.stack([places[:, None, :].expand(-1, frames, -1), times[:, :, None].expand(-1, -1, bands)], dim=-1)
        return F.grid_sample(sounds[:, None], grid, padding_mode="zeros", align_corners=False)[:, 0]

    def _level(self, sounds: Tensor, drawn: Tensor, floor: Tensor) -> Tensor:
        """Softer or louder beside the loudest moment, and not below a floor of noise that half of them get."""
        gain = 255 * self.loudness * _spread(drawn[:, 0])[:, None, None]
        # Silence stays silence.
        sounds = torch.where(sounds > 0, sounds + gain, sounds).clamp(0, 255)
        level = 255 * self.noise * (drawn[:, 1] * (drawn[:, 2] < 0.5))[:, None, None]
        return torch.maximum(sounds, level * (0.7 + 0.3 * floor))

    def _hide(self, sounds: Tensor, drawn: Tensor) -> Tensor:
        frames, bands = sounds.shape[1:]
        for mask in range(self.masks):
            width, start, height, low = drawn[:, 4 * mask : 4 * mask + 4].T
            times = _between(frames, width * self.hidden_time, start, sounds)[:, :, None]
            places = _between(bands, height * self.hidden_bands, low, sounds)[:, None, :]
            sounds = sounds.masked_fill(times | places, 0.0)
        return sounds


AUDIO_AUGMENTATIONS = {
    "none": None,
    "light": AudioAugmentation(
        shift=0.1, speed=0.12, pitch=0.04, loudness=0.08, noise=0.3, hidden_time=0.12, hidden_bands=0.15, masks=1
    ),
    "strong": AudioAugmentation(
        shift=0.15, speed=0.2, pitch=0.07, loudness=0.12, noise=0.45, hidden_time=0.15, hidden_bands=0.2, masks=2
    ),
}  # fmt: skip


def _spread(drawn: Tensor) -> Tensor:
    """Numbers between 0 and 1 as numbers between -1 and 1."""
    return 2 * drawn - 1


def _centres(length: int, like: Tensor) -> Tensor:
    """Where the middles of `length` cells lie between -1 and 1."""
    return (2 * torch.arange(length, device=like.device) + 1) / length - 1


def _between(length: int, width: Tensor, start: Tensor, like: Tensor) -> Tensor:
    """Which of `length` cells [N, length] lie in a stretch of that share of them, at a random place."""
    places = torch.arange(length, device=like.device) / length
    low = (start * (1 - width))[:, None]
    return (places >= low) & (places < low + width[:, None])
