"""One model served by other frameworks: ``python -m benchmarks.serving_peers.<name> <port>``, BENCH_MODEL its folder.

Each gets the exported graph with one thread, and takes the picture as most of its users send it: FastAPI, Ray Serve and
TorchServe as the body, LitServe and BentoML as a form. The picture is decoded as such programs do it: by Pillow at its
full size; with BENCH_DECODER=lepton by the decoder of Lepton's replicas, so that only the serving differs.
"""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from workers.inference.outcomes import class_outcome
from workers.inference.predictor import load_predictor

CORES = 2
FASTAPI, FASTAPI_TUNED = "fastapi", "fastapi_tuned"
PEERS = (FASTAPI, FASTAPI_TUNED, "litserve", "bentoml", "torchserve", "rayserve")


class Model:
    """Bytes of a picture to what Lepton answers."""

    def __init__(self) -> None:
        self.predictor = load_predictor(Path(os.environ["BENCH_MODEL"]), threads=1)

    def __call__(self, body: bytes) -> dict:
        pixels = self.decode(body)
        return class_outcome(self.predictor.classes, self.predictor.run(pixels[None])[0], None)

    def decode(self, body: bytes) -> np.ndarray:
        """uint8 [H, W, 3]"""
        if os.environ.get("BENCH_DECODER") == "lepton":
            return self.predictor.decode(body)
        height, width, _channels = self.predictor.shape
        return np.asarray(Image.open(BytesIO(body)).convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
