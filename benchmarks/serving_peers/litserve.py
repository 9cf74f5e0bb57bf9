"""LitServe with a worker on each core."""

import sys

import litserve
from fastapi import UploadFile

from benchmarks.serving_peers import CORES, Model


class Classifier(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model()

    def decode_request(self, request: UploadFile) -> bytes:
        return request.file.read()

    def predict(self, body: bytes) -> dict:
        return self.model(body)

    def encode_response(self, output: dict) -> dict:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=CORES)
    port = int(sys.argv[1])
    server.run(port=port, host="127.0.0.1", generate_client_file=False, log_level="warning", access_log=False)
