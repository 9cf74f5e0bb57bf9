"""The programs that do Lepton's work, and the agents that start them. None of it reports to anybody outside."""

import os

# ONNX Runtime sends names and hashes of models to its makers, and huggingface_hub what is used of it, unless these
# stand there before they are loaded.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ.setdefault(_name, "1")
