"""One model served by other frameworks: ``python -m benchmarks.serving_peers.<name> <port>``, BENCH_MODEL its folder.

Each gets the exported graph with one thread and the decoder that Lepton's own replica has, so that only the serving
differs, and a worker on each of two cores. They take the picture as most of their users send
it: FastAPI as the body, LitServe and BentoML as a form.
"""

import os
from pathlib import Path

from workers.inference.outcomes import class_outcome
from workers.inference.predictor import load_predictor

CORES = 2
FASTAPI, FASTAPI_TUNED = "fastapi", "fastapi_tuned"
PEERS = (FASTAPI, FASTAPI_TUNED, "litserve", "bentoml")


class Model:
    """Bytes of a picture to what Lepton answers."""

    def __init__(self) -> None:
        self.predictor = load_predictor(Path(os.environ["BENCH_MODEL"]), threads=1)

    def __call__(self, body: bytes) -> dict:
        return class_outcome(self.predictor.classes, self.predictor.predict_image(body), None)
