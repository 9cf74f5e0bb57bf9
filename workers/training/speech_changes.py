"""Random changes to batches of spoken recordings, none of which loses a word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workers.training.audio_changes import AudioAugmentation
from workers.training.batches import Draws


@dataclass(frozen=True)
class SpeechAugmentation:
    """`pace` is how much faster or slower recordings are spoken, as a share; `sounds` changes what is heard, and hides
    parts of it (SpecAugment, Park et al. 2019)."""

    pace: float
    sounds: AudioAugmentation

    def __call__(self, inputs: tuple[Tensor, ...], draws: Draws) -> tuple[Tensor, ...]:
        """Change (spectrograms uint8 [N, T, bands], lengths int64 [N]) into (float32 [N, T', bands], lengths)."""
        sounds, lengths = inputs
        rates = torch.exp(self.pace * (2 * draws.uniform(1)[:, 0] - 1))
        longer = torch.ceil(lengths / rates).long()
        spoken = _at_pace(sounds.float(), rates, int(longer.max()))
        (changed,) = self.sounds((spoken[..., None],), draws)
        return changed[..., 0], longer


def _at_pace(sounds: Tensor, rates: Tensor, frames: int) -> Tensor:
    """Sounds [N, T, bands] as [N, frames, bands], each so many times as fast."""
    count, before, bands = sounds.shape
    times = (2 * torch.arange(frames) + 1) * rates[:, None] / before - 1
    places = (2 * torch.arange(bands) + 1) / bands - 1
    grid = torch.stack([places.expand(count, frames, bands), times[:, :, None].expand(count, frames, bands)], dim=-1)
    return F.grid_sample(sounds[:, None], grid, padding_mode="zeros", align_corners=False)[:, 0]


@dataclass(frozen=True)
class WaveAugmentation:
    """The same for recordings as samples: `pace` as above, which changes the voice's pitch too; up to `noise` of their
    loudness is added as white noise to half of them; and `masks` parts of up to `hidden_seconds` each are silenced."""

    pace: float
    noise: float
    hidden_seconds: float
    masks: int
    rate: int = 16_000

    def __call__(self, inputs: tuple[Tensor, ...], draws: Draws) -> tuple[Tensor, ...]:
        """Change (samples int16 [N, S], lengths int64 [N], ...) into (float32 [N, S'], lengths, ...)."""
        sounds, lengths, *others = inputs
        drawn = draws.uniform(3 + 2 * self.masks)
        rates = torch.exp(self.pace * (2 * drawn[:, 0] - 1))
        longer = torch.ceil(lengths / rates).long()
        spoken = _at_pace(sounds.float()[..., None], rates, int(longer.max()))[..., 0]
        places = torch.arange(spoken.shape[1])
        loudness = spoken.square().sum(dim=1).div(longer).sqrt()
        level = self.noise * loudness * drawn[:, 1] * (drawn[:, 2] < 0.5)
        spoken = spoken + level[:, None] * 12**0.5 * (draws.uniform(spoken.shape[1]) - 0.5)
        for mask in range(self.masks):
            first, share = drawn[:, 3 + 2 * mask] * longer, drawn[:, 4 + 2 * mask]
            last = first + share * self.hidden_seconds * self.rate
            spoken = torch.where((places >= first[:, None]) & (places < last[:, None]), 0.0, spoken)
        return torch.where(places < longer[:, None], spoken, 0.0), longer, *others


WAVE_AUGMENTATIONS = {
    "none": None,
    "light": WaveAugmentation(pace=0.1, noise=0.1, hidden_seconds=0.1, masks=2),
    "strong": WaveAugmentation(pace=0.18, noise=0.25, hidden_seconds=0.2, masks=3),
}
SPEECH_AUGMENTATIONS = {
    "none": None,
    "light": SpeechAugmentation(
        0.1,
        AudioAugmentation(
            shift=0.0, speed=0.0, pitch=0.03, loudness=0.06, noise=0.25, hidden_time=0.06, hidden_bands=0.15, masks=2
        ),
    ),
    "strong": SpeechAugmentation(
        0.18,
        AudioAugmentation(
            shift=0.0, speed=0.0, pitch=0.05, loudness=0.1, noise=0.4, hidden_time=0.08, hidden_bands=0.2, masks=3
        ),
    ),
}  # fmt: skip
