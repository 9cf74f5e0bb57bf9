"""The loss of what is said: minus the logarithm of the sum over all paths, for each character."""

import math

import pytest
import torch

from workers.training.losses import SILENT, ctc_loss
from workers.training.speech_models import build_network

FRAMES = torch.tensor([[[0.4, 0.6], [0.3, 0.7]]]).log()
ARGUMENTS = {
    "outputs": 4, "width": 16, "heads": 2, "blocks": 2, "kernel": 5, "dropout": 0.0, "mean": [90.0] * 8,
    "deviation": [40.0] * 8,
}  # fmt: skip


def test_the_loss_is_the_one_worked_out_by_hand():
    """The paths "aa", "a-" and "-a" of two frames: 0.6 * 0.7 + 0.6 * 0.3 + 0.4 * 0.7 = 0.88."""
    assert ctc_loss()(FRAMES, torch.tensor([[1]])).item() == pytest.approx(-math.log(0.88), abs=1e-6)
    frames = torch.tensor([[[0.4, 0.6], [0.3, 0.7], [0.5, 0.5]]]).log()
    # Of "aa" there is the path "a-a" alone, and it has two characters.
    assert ctc_loss()(frames, torch.tensor([[1, 1]])).item() == pytest.approx(-math.log(0.09) / 2, abs=1e-6)


def test_each_character_of_a_batch_counts_alike():
    loss, frames = ctc_loss(), torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, 2], [3, 0, 0], [4, 1, 0]])
    assert [loss.weigh(targets[place : place + 1]) for place in range(3)] == [3, 1, 2]
    parts = [
        loss(frames[place : place + 1], targets[place : place + 1]).item() * loss.weigh(targets[place : place + 1])
        for place in range(3)
    ]
    assert loss(frames, targets).item() == pytest.approx(sum(parts) / loss.weigh(targets), abs=1e-5)


def test_frames_behind_the_end_do_not_count():
    silence = torch.tensor([[[0.0, SILENT]]]).expand(1, 5, 2)
    longer = torch.cat([FRAMES, silence], dim=1)
    assert ctc_loss()(longer, torch.tensor([[1, 0, 0]])).item() == pytest.approx(-math.log(0.88), abs=1e-6)
    # Two characters that are alike need three frames, and silence is none of them.
    assert ctc_loss()(longer, torch.tensor([[1, 1]])).item() == 0.0


def test_the_loss_of_a_recording_does_not_depend_on_what_is_behind_it():
    torch.manual_seed(0)
    network, draw = build_network(ARGUMENTS).eval(), torch.Generator().manual_seed(1)
    sounds = torch.randint(0, 256, (2, 60, 8), generator=draw, dtype=torch.uint8)
    lengths, targets = torch.tensor([41, 60]), torch.tensor([[1, 2, 3], [2, 2, 0]])
    together = network(sounds, lengths)
    alone = network(sounds[:1, :41], lengths[:1])
    torch.testing.assert_close(together[:1, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5)
    assert (together[0, alone.shape[1] :, 1:] == SILENT).all()
    assert ctc_loss()(together[:1], targets[:1]).item() == pytest.approx(
        ctc_loss()(alone, targets[:1]).item(), abs=1e-5
    )


def test_gradients_are_finite_where_a_transcript_does_not_fit():
    network = build_network(ARGUMENTS)
    sounds, lengths = torch.zeros(2, 40, 8, dtype=torch.uint8), torch.tensor([6, 40])
    ctc_loss()(network(sounds, lengths), torch.tensor([[1, 2, 3, 1, 2, 3], [1, 2, 0, 0, 0, 0]])).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
