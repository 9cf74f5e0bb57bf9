"""Code that works when pasted: one call with curl, one with the SDK, for the sample that the model came with."""

import json
import shlex
from typing import Any

from apps.deployments.models import Deployment
from apps.deployments.services import prediction_path
from workers.domains import AUDIO, IMAGE, SERIES, TASKS, TEXT, USER


def curl(deployment: Deployment, base_url: str, sample: Any) -> str:
    """`sample` is a row, a text, a user, or the name of a file with a picture or a recording."""
    url, task = f"{base_url}{prediction_path(deployment)}", deployment.version.model.task
    if TASKS[task].asks in (AUDIO, IMAGE):
        what = f"-H 'Content-Type: application/octet-stream' \\\n  --data-binary @{sample}"
        url += "?top_k=3"
    else:
        names = {TEXT: "text", USER: "user"}
        body = sample if TASKS[task].asks == SERIES else {names.get(TASKS[task].asks, "row"): sample}
        what = f"-H 'Content-Type: application/json' \\\n  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    return f'curl {shlex.quote(url)} \\\n  -H "Authorization: Bearer $LEPTON_API_KEY" \\\n  {what}'


def python(deployment: Deployment, base_url: str, sample: Any) -> str:
    """As `curl`, with the SDK."""
    asked = TASKS[deployment.version.model.task].asks
    given = f"user={sample!r}" if asked == USER else repr(sample)
    if asked == SERIES:
        given = ", ".join(f"{name}={value!r}" for name, value in sample.items())
    return (
        "import leptonai\n\n"
        f"client = leptonai.Client(base_url={base_url!r})\n"
        f"model = client.load_model({deployment.name!r})\n"
        f"print(model.predict({given}))"
    )


def sample_name(deployment: Deployment) -> str:
    """The file name of the sample in the version's bundle."""
    return str(deployment.version.meta.get("sample") or "")
