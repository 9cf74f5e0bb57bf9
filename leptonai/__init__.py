"""Lepton from a program.

import leptonai

client = leptonai.Client(api_key="...")              # or LEPTON_API_KEY; base_url or LEPTON_BASE_URL
model = client.load_model("image_classification")    # a deployment, a model, or a task
model.predict("7.png")                               # {"class": "7", "probability": 0.98}
"""

import warnings
from importlib import metadata

from leptonai.client import Client
from leptonai.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    ConnectionFailed,
    Failed,
    InvalidRequest,
    LeptonError,
    NotFoundError,
    PermissionDenied,
    RateLimited,
    TooLargeError,
    UnavailableError,
    WaitTimeout,
)
from leptonai.model import Model
from leptonai.records import Record

__version__ = "0.1.0"
__all__ = [
    "ApiError",
    "AuthenticationError",
    "Client",
    "ConflictError",
    "ConnectionFailed",
    "Failed",
    "InvalidRequest",
    "LeptonError",
    "Model",
    "NotFoundError",
    "PermissionDenied",
    "RateLimited",
    "Record",
    "TooLargeError",
    "UnavailableError",
    "WaitTimeout",
]


def _warn_of_namesake() -> None:
    try:
        version = metadata.version("leptonai")
    except metadata.PackageNotFoundError:
        return
    warnings.warn(
        f"Two packages provide `import leptonai` here: lepton-site-sdk, which is the SDK of your Lepton site, and "
        f"leptonai {version}, an unrelated one. They overwrite each other's files. Run "
        "`pip uninstall leptonai` and then `pip install --force-reinstall lepton-site-sdk`.",
        stacklevel=3,
    )


_warn_of_namesake()
