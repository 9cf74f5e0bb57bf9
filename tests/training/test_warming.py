"""What an interpreter loads before its training is known."""

import os
import tempfile

import torch

from workers.training.warming import warm_up


def test_it_trains_a_model_and_leaves_no_trace(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    warm_up()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
    assert not torch.cuda.is_initialized()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
