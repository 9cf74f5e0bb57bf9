"""A model folder as something that predicts. numpy, Pillow and ONNX Runtime only, so that it is ready in a second.

Images: ``predict_image(body)`` is decode and run. Texts: ``predict_texts(texts)``, and tables: ``predict_rows(rows)``,
are encode and run.
"""

from __future__ import annotations

from pathlib import Path

from workers.contract import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION, TRANSLATION
from workers.inference.files import (
    META_FILE,
    NETWORK_PREFIX,
    ONNX_FILE,
    PACKED_FILE,
    TREES,
    TREES_FILE,
    damaged,
    graph_path,
    load_trees,
    read_meta,
    shares_of,
    tree_groups,
)
from workers.inference.image_predictor import ImagePredictor
from workers.inference.table_predictor import TablePredictor
from workers.inference.text_predictor import TextPredictor
from workers.inference.translation_predictor import TranslationPredictor

__all__ = [
    "META_FILE", "NETWORK_PREFIX", "ONNX_FILE", "PACKED_FILE", "TREES", "TREES_FILE", "ImagePredictor", "Predictor",
    "TablePredictor", "TextPredictor", "TranslationPredictor", "graph_path", "load_predictor", "load_trees",
    "read_meta", "shares_of", "tree_groups",
]  # fmt: skip

Predictor = ImagePredictor | TablePredictor | TextPredictor | TranslationPredictor
PREDICTORS = {
    IMAGE_CLASSIFICATION: ImagePredictor,
    TEXT_CLASSIFICATION: TextPredictor,
    TRANSLATION: TranslationPredictor,
}


def load_predictor(model_dir: Path, threads: int) -> Predictor:
    """Raises ProgramFailure damaged_model when a file is missing or cannot be read."""
    meta = read_meta(model_dir)
    kind = PREDICTORS.get(meta.get("task"), TablePredictor)
    try:
        return kind(model_dir, meta, threads)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise damaged(f"{type(error).__name__}: {error}") from error
