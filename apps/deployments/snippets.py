"""Code that works when pasted: one call with curl, one with the SDK, for the sample that the model came with."""

import json
import shlex
from typing import Any

from apps.deployments.models import Deployment
from apps.deployments.services import prediction_path
from workers.contract import IMAGE_CLASSIFICATION


def curl(deployment: Deployment, base_url: str, sample: dict[str, Any] | None) -> str:
    """`sample` is a row; None for a model of pictures, whose sample is the file `sample_name`."""
    url = f"{base_url}{prediction_path(deployment)}"
    if deployment.version.model.task == IMAGE_CLASSIFICATION:
        what = f"-H 'Content-Type: application/octet-stream' \\\n  --data-binary @{sample_name(deployment)}"
        url += "?top_k=3"
    else:
        row = shlex.quote(json.dumps({"row": sample or {}}, ensure_ascii=False))
        what = f"-H 'Content-Type: application/json' \\\n  -d {row}"
    return f'curl {shlex.quote(url)} \\\n  -H "Authorization: Bearer $LEPTON_API_KEY" \\\n  {what}'


def python(deployment: Deployment, base_url: str, sample: dict[str, Any] | None) -> str:
    """As `curl`, with the SDK."""
    is_image = deployment.version.model.task == IMAGE_CLASSIFICATION
    item = repr(sample_name(deployment)) if is_image else repr(sample or {})
    return (
        "import leptonai\n\n"
        f"client = leptonai.Client(base_url={base_url!r})\n"
        f"model = client.load_model({deployment.name!r})\n"
        f"print(model.predict({item}))"
    )


def sample_name(deployment: Deployment) -> str:
    """The file name of the sample in the version's bundle."""
    return str(deployment.version.meta.get("sample") or "")
