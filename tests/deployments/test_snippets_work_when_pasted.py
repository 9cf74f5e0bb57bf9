"""The code on a deployment's page, pasted as it stands beside the sample that it names, by a shell, Python and Node."""

import ast
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.deployments import snippets
from apps.deployments.models import Deployment
from apps.deployments.samples import sample_input
from tests.deployments.conftest import store_model
from tests.deployments.serving import served
from tests.deployments.test_usual_predictions import Server
from tests.inference.models import image_model, table_model
from tests.inference.processes import serve
from tests.people import Person
from tests.stack import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("gateway")]

SECONDS = 60
NODE = shutil.which("node") or str(Path(sys.prefix) / "bin" / "node")
MODELS = {"picture": image_model, "row": table_model}
BY = {
    "curl": ("call.sh", ["sh", "call.sh"]) if shutil.which("curl") else None,
    "python": ("call.py", [sys.executable, "call.py"]),
    "javascript": ("predict.mjs", [NODE, "predict.mjs"]),
}


@pytest.fixture(params=MODELS)
def deployment(request, owner: Person, tmp_path_factory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp(request.param)
    replica = serve(folder, MODELS[request.param])
    socket_path = next(replica)
    yield served(owner, store_model(owner, folder / "model"), socket_path, "shades")
    assert next(replica, None) is None


def written(deployment: Deployment, base_url: str) -> dict[str, str]:
    sample = sample_input(deployment.version)
    call = snippets.call_of(deployment, base_url, sample)
    return {
        "curl": snippets.curl(call),
        "javascript": snippets.javascript(call),
        "python": snippets.python(deployment, base_url, sample),
    }


async def run(command: list[str], folder: Path, secret: str) -> str:
    environment = os.environ | {"LEPTON_API_KEY": secret, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS):
        told, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    return told.decode()


def test_each_of_them_answers_about_the_sample(deployment, owner, tmp_path, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    if name := snippets.sample_name(deployment):
        sample = owner.page.get(f"/deployments/{deployment.pk}/sample/")
        (tmp_path / name).write_bytes(b"".join(sample.streaming_content))

    async def scenario() -> dict[str, str]:
        server, told = Server(), {}
        async with server.listening():
            for language, code in written(deployment, f"http://127.0.0.1:{server.port}").items():
                if not BY[language]:  # this machine has no curl
                    continue
                file, command = BY[language]
                (tmp_path / file).write_text(code)
                told[language] = await run(command, tmp_path, owner.secret)
        return told

    told = asyncio.run(scenario())
    expected = ast.literal_eval(told["python"])["class"]
    assert expected in deployment.version.meta["classes"]
    assert f"class: '{expected}'" in told["javascript"]
    assert json.loads(told.get("curl", f'{{"class": "{expected}"}}'))["class"] == expected
