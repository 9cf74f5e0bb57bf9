"""Code that works when pasted: one call with curl, with the SDK and with JavaScript, for the sample that the model came
with."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from apps.deployments.models import Deployment
from apps.deployments.services import prediction_path
from workers.domains import AUDIO, IMAGE, SERIES, TASKS, TEXT, USER

JAVASCRIPT = """\
{imports}const response = await fetch({url}, {{
  method: "POST",
  headers: {{
    "Authorization": `Bearer ${{process.env.LEPTON_API_KEY}}`,
    "Content-Type": {content_type},
  }},
  body: {body},
}});
console.log(await response.json());"""


@dataclass(frozen=True)
class Call:
    """One request over HTTP. Either `file` is the name of a file to send, or `body` is what to send as JSON."""

    url: str
    content_type: str
    file: str = ""
    body: Any = None

    @property
    def json(self) -> str:
        return json.dumps(self.body, ensure_ascii=False)


def call_of(deployment: Deployment, base_url: str, sample: Any) -> Call:
    """`sample` is a row, a text, a user, what a series is asked with, or the name of a file with a picture or a
    recording."""
    url, asked = f"{base_url}{prediction_path(deployment)}", TASKS[deployment.version.model.task].asks
    if asked in (AUDIO, IMAGE):
        return Call(f"{url}?top_k=3", "application/octet-stream", file=sample)
    names = {TEXT: "text", USER: "user"}
    body = sample if asked == SERIES else {names.get(asked, "row"): sample}
    return Call(url, "application/json", body=body)


def curl(call: Call) -> str:
    what = f"--data-binary @{shlex.quote(call.file)}" if call.file else f"-d {shlex.quote(call.json)}"
    lines = [
        f"curl {shlex.quote(call.url)}",
        '-H "Authorization: Bearer $LEPTON_API_KEY"',
        f"-H 'Content-Type: {call.content_type}'",
        what,
    ]
    return " \\\n  ".join(lines)


def javascript(call: Call) -> str:
    """A module for Node 18 and newer."""
    return JAVASCRIPT.format(
        imports='import { readFile } from "node:fs/promises";\n\n' if call.file else "",
        url=json.dumps(call.url),
        content_type=json.dumps(call.content_type),
        body=f"await readFile({json.dumps(call.file)})" if call.file else f"JSON.stringify({call.json})",
    )


def python(deployment: Deployment, base_url: str, sample: Any) -> str:
    """With the SDK; `sample` as for `call_of`."""
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
