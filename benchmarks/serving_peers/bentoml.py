"""BentoML with a worker on each core."""

import os
import sys
from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.serving_peers import CORES, Model


@bentoml.service(workers=CORES, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Classifier:
    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api
    def predict(self, file: Annotated[Path, ContentType("image/jpeg")]) -> dict:
        return self.model(file.read_bytes())


if __name__ == "__main__":
    program = str(Path(sys.executable).with_name("bentoml"))
    service = "benchmarks.serving_peers.bentoml:Classifier"
    os.execv(program, [program, "serve", service, "--host", "127.0.0.1", "--port", sys.argv[1]])
