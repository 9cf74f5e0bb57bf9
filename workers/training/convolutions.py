"""Convolutions with their normalisation, which all networks for images are made of."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvNorm(nn.Sequential):
    """Convolution and batch normalisation, with ReLU unless told otherwise."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> None:
        layers = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))

    def fuse(self) -> None:
        """Fold the normalisation into the convolution, for inference."""
        convolution = self[0]
        if isinstance(convolution, nn.Sequential):  # of low rank: the last of them makes what is normalised
            convolution[-1] = fuse_conv_bn_eval(convolution[-1], self[1])
        else:
            self[0] = fuse_conv_bn_eval(convolution, self[1])
        self[1] = nn.Identity()
