"""FastAPI on uvicorn. The route computes where it stands: a thread pool costs more than this model takes."""

import sys

import uvicorn
from fastapi import FastAPI, Request

from benchmarks.serving_peers import CORES, Model


def make_app() -> FastAPI:
    app, model = FastAPI(), Model()

    @app.post("/predict")
    async def predict(request: Request) -> dict:
        return model(await request.body())

    return app


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.serving_peers.fastapi:make_app",
        factory=True, port=int(sys.argv[1]), workers=CORES, log_level="warning", access_log=False,
    )  # fmt: skip
