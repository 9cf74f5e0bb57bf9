"""FastAPI on uvicorn, as ``pip install fastapi uvicorn`` gives it: one process, h11, the loop of asyncio. With
``tuned`` it has a process on each core, httptools and uvloop.

The route computes where it stands: a thread pool costs more than this model takes.
"""

import sys

import uvicorn
from fastapi import FastAPI, Request

from benchmarks.serving_peers import CORES, Model

PLAIN = {"http": "h11", "loop": "asyncio"}


def make_app() -> FastAPI:
    app, model = FastAPI(), Model()

    @app.post("/predict")
    async def predict(request: Request) -> dict:
        return model(await request.body())

    return app


if __name__ == "__main__":
    how = {"workers": CORES, "http": "httptools", "loop": "uvloop"} if "tuned" in sys.argv else PLAIN
    uvicorn.run(
        "benchmarks.serving_peers.fastapi:make_app",
        factory=True, port=int(sys.argv[1]), log_level="warning", access_log=False, **how,
    )  # fmt: skip
