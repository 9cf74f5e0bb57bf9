"""Trainings that start from a pretrained checkpoint. What stands here loads transformers, so that the rest imports it
only where such a model is built."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it: programs have no business with a hub
