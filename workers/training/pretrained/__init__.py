"""Trainings that start from a pretrained checkpoint. What stands here loads transformers, so that the rest imports it
only where such a model is built."""

import os

# Before anything reads them: programs have no business with a hub, and show no bars.
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
