"""Ray Serve with a replica on each core, on a Ray of its own."""

import os
import signal
import sys

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.serving_peers import CORES, Model


@serve.deployment(num_replicas=CORES, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=64)
class Classifier:
    def __init__(self) -> None:
        self.model = Model()

    async def __call__(self, request: Request) -> dict:
        return self.model(await request.body())


if __name__ == "__main__":
    given = {name: os.environ[name] for name in ("BENCH_MODEL", "BENCH_DECODER", "OMP_NUM_THREADS", "PYTHONPATH")}
    ray.init(include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": given})
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Classifier.bind(), route_prefix="/predict", logging_config={"enable_access_log": False})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
