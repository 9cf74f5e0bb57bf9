"""The sizes of layers by plain names, and layers made smaller by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@dataclass(frozen=True)
class Kind:
    """Layers of class `layer`, whose sizes, by their short names, are these attributes."""

    name: str
    layer: type[nn.Module]
    attributes: Mapping[str, str]


CONVOLUTION = {"in": "in_channels", "out": "out_channels", "groups": "groups"}
KINDS = (
    Kind("conv1d", nn.Conv1d, CONVOLUTION),
    Kind("conv2d", nn.Conv2d, CONVOLUTION),
    Kind("conv3d", nn.Conv3d, CONVOLUTION),
    Kind("linear", nn.Linear, {"in": "in_features", "out": "out_features"}),
    Kind("embedding", nn.Embedding, {"size": "embedding_dim"}),
    Kind("norm", _NormBase, {"size": "num_features"}),  # of batches and of instances
    Kind("group_norm", nn.GroupNorm, {"size": "num_channels"}),
    Kind("layer_norm", nn.LayerNorm, {"size": "normalized_shape"}),
    Kind("prelu", nn.PReLU, {"size": "num_parameters"}),
)


def read_sizes(module: nn.Module) -> dict[str, Any]:
    """Such as {"kind": "linear", "in": 8, "out": 4}; empty for a module of no such kind."""
    kind = _kind_of(module)
    if kind is None:
        return {}
    return {"kind": kind.name} | {key: _read(module, attribute) for key, attribute in kind.attributes.items()}


def resize(name: str, module: nn.Module, sizes: Mapping[str, Any]) -> None:
    """Give the layer called `name` these sizes, none above what it has. Its weights are zero afterwards.

    Raises ValueError.
    """
    kind = _kind_of(module)
    if kind is None or sizes.get("kind") != kind.name or set(sizes) != {"kind", *kind.attributes}:
        raise ValueError(f"The sizes of {name!r} are not those of a layer of its kind.")
    for key, attribute in kind.attributes.items():
        most = _read(module, attribute)
        if type(sizes[key]) is not int or not 1 <= sizes[key] <= most:
            raise ValueError(f"The size {key!r} of {name!r} must be a whole number from 1 to {most}.")
    groups = sizes.get("groups", getattr(module, "num_groups", 1))
    if any(value % groups for key, value in sizes.items() if key in ("in", "out", "size")):
        raise ValueError(f"The sizes of {name!r} are not multiples of its {groups} groups.")
    for key, attribute in kind.attributes.items():
        setattr(module, attribute, (sizes[key],) if isinstance(module, nn.LayerNorm) else sizes[key])
    for tensor, shape in _shapes(module, kind).items():
        _write_zeros(module, tensor, shape)


def write_shapes(name: str, module: nn.Module, shapes: Any) -> None:
    """Give parameters of the module called `name` these shapes, no side above what it is. Raises ValueError."""
    if not isinstance(shapes, Mapping) or _kind_of(module) is not None:
        raise ValueError(f"The shapes of {name!r} must be those of parameters of its own.")
    for own, shape in shapes.items():
        present = module._parameters.get(own) if isinstance(own, str) else None
        if present is None:
            raise ValueError(f"The module {name!r} has no parameter {own!r}.")
        is_list = isinstance(shape, (list, tuple)) and len(shape) == present.ndim
        if not is_list or any(
            type(side) is not int or not 1 <= side <= most for side, most in zip(shape, present.shape, strict=True)
        ):
            raise ValueError(f"The shape of {own!r} in {name!r} must be within {list(present.shape)}.")
        _write_zeros(module, own, tuple(shape))


def _kind_of(module: nn.Module) -> Kind | None:
    return next((kind for kind in KINDS if isinstance(module, kind.layer)), None)


def _read(module: nn.Module, attribute: str) -> int:
    value = getattr(module, attribute)
    return value[-1] if isinstance(value, tuple) else value


def _shapes(module: nn.Module, kind: Kind) -> dict[str, tuple[int, ...]]:
    """Of its tensors, by its sizes."""
    if kind.attributes is CONVOLUTION:
        weight = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        return {"weight": weight, "bias": (module.out_channels,)}
    if kind.name == "linear":
        return {"weight": (module.out_features, module.in_features), "bias": (module.out_features,)}
    if kind.name == "embedding":
        return {"weight": (module.num_embeddings, module.embedding_dim)}
    size = (_read(module, kind.attributes["size"]),)
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), size)


def _write_zeros(module: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    if (parameter := module._parameters.get(name)) is not None:
        zeros = torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)
        module._parameters[name] = nn.Parameter(zeros, requires_grad=parameter.requires_grad)
    elif (buffer := module._buffers.get(name)) is not None:
        module._buffers[name] = torch.zeros(shape, dtype=buffer.dtype, device=buffer.device)
