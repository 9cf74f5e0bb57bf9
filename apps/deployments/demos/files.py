"""Demos that are asked with a file: a picture or a recording."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.core.errors import Forbidden, TooLarge, Unprocessable
from apps.core.storage import open_blob
from apps.deployments.demos.asking import TOP_K, ask, is_member
from apps.deployments.models import Deployment
from apps.deployments.samples import PICTURES, PREVIEW_BYTES, SOUNDS, data_uri, sample_recordings
from workers.inference.framing import RAW, SAMPLE, Question

FORM_OVERHEAD_BYTES = 64 * 1024
ALL_LABELS = 1000
BYTES_OF_ONE = 2**20  # of a recording to write down, which takes about as long as it is


def prepare_image(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The sample picture, shown on its button."""
    return _sample(deployment, PICTURES)


def prepare_audio(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The sample and the examples come out of the team's data, so only the team hears them."""
    if not is_member(request, deployment):
        return {}
    return _sample(deployment, SOUNDS) | {"examples": sample_recordings(deployment.version)}


def _sample(deployment: Deployment, kinds: dict[bytes, str]) -> dict[str, Any]:
    artifact = deployment.version.artifacts.filter(name=deployment.version.meta.get("sample")).first()
    if artifact is None or artifact.size_bytes > PREVIEW_BYTES:
        return {}
    with open_blob(artifact.sha256) as file:
        return {"sample_uri": data_uri(file.read(), kinds)}


def predict_image(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """Of the picture that was sent, or of the model's sample."""
    return _predict_file(request, deployment, PICTURES, _("Choose an image first."))


def predict_labels(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The same, with every label."""
    return _predict_file(request, deployment, PICTURES, _("Choose an image first."), ALL_LABELS)


def predict_audio(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """Of the recording that was sent, of the model's sample, or of one of its examples."""
    if "example" in request.POST:
        return _predict_example(request, deployment)
    if _is_sample(request) and not is_member(request, deployment):
        raise Forbidden(_("Only the team hears its recordings. Record something."), code="members_only", field="file")
    return _predict_file(request, deployment, SOUNDS, _("Record something, or choose a file first."))


def weigh_speech(request: HttpRequest) -> int:
    """How many predictions a recording counts as, by its size."""
    file = request.FILES.get("file")
    return 1 + (file.size // BYTES_OF_ONE if file else 0)


def _predict_file(
    request: HttpRequest, deployment: Deployment, kinds: dict[bytes, str], missing: str, top_k: int = TOP_K
) -> dict[str, Any]:  # fmt: skip
    """`missing` says what to do where no file was sent."""
    limit = settings.LEPTON_MAX_PREDICT_BYTES
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit + FORM_OVERHEAD_BYTES:
        raise TooLarge(_("The file is larger than %(n)d MB. Choose a smaller one.") % {"n": limit // 10**6})
    if _is_sample(request):
        return ask(request, deployment, Question(SAMPLE, top_k=top_k)) | {"is_sample": True}
    file = request.FILES.get("file")
    if file is None:
        raise Unprocessable(missing, code="missing_file", field="file")
    body = file.read()
    return ask(request, deployment, Question(RAW, body, top_k)) | {"preview": data_uri(body, kinds)}


def _is_sample(request: HttpRequest) -> bool:
    return "sample" in request.POST or request.POST.get("explain") == "sample"


def _predict_example(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """One of the held-out recordings that the model came with."""
    name = request.POST["example"]
    known = sample_recordings(deployment.version) if is_member(request, deployment) else []
    example = next((item for item in known if item["file"] == name), None)
    if example is None:
        raise Unprocessable(_("There is no such example."), code="unknown_example", field="example")
    with open_blob(example["sha256"]) as file:
        body = file.read()
    found = ask(request, deployment, Question(RAW, body, TOP_K))
    return found | {"preview": data_uri(body, SOUNDS), "example": example}
