"""A local torchrun of a few gloo processes."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def torchrun(processes: int, *arguments: str) -> subprocess.Popen:
    """Start ``python -m <arguments>`` as `processes` ranks; they have found each other before it runs."""
    command = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0",
               f"--nproc-per-node={processes}", "--max-restarts=0", "-m", *arguments]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
