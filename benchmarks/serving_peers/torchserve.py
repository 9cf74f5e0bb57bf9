"""TorchServe with a worker on each core. It needs a Java runtime."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.serving_peers import CORES

HANDLER = Path(__file__).with_name("torchserve_handler.py")


def write_settings(folder: Path, port: int) -> Path:
    """Every other port is one that the system chose just now."""
    settings = folder / "config.properties"
    lines = [
        f"inference_address=http://127.0.0.1:{port}",
        "management_address=unix:/" + str(folder / "management.sock"),
        "metrics_address=unix:/" + str(folder / "metrics.sock"),
        "metrics_mode=log",
        f"default_workers_per_model={CORES}",
        "disable_token_authorization=true",
    ]
    settings.write_text("\n".join(lines) + "\n")
    return settings


def main(port: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="torchserve-", dir=Path(os.environ["BENCH_MODEL"]).parent))
    programs = Path(sys.executable).parent
    store = folder / "store"
    store.mkdir()
    subprocess.run(
        [programs / "torch-model-archiver", "--model-name", "bench", "--version", "1", "--handler", HANDLER,
         "--serialized-file", Path(os.environ["BENCH_MODEL"]) / "model.onnx", "--export-path", store],
        check=True,
    )  # fmt: skip
    os.chdir(folder)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    program = str(programs / "torchserve")
    os.execv(
        program,
        [program, "--start", "--foreground", "--ncs", "--model-store", str(store), "--models", "bench=bench.mar",
         "--ts-config", str(write_settings(folder, port)), "--disable-token-auth"],
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]))
