"""What clients send, read for the model that is to answer: a module for each thing that models are asked with.

Each has these functions (`Questions`); which task's models are asked with what stands in workers.domains. The site
describes inputs by them, so they load no runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from workers.inference.framing import Question
from workers.inference.tensors import Request

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor


class Questions(Protocol):
    """The functions of a module of this package."""

    def read(self, predictor: Predictor, question: Question) -> tuple[Sequence[Any], bool]:
        """The items in a question, and whether it asks for one outcome only. Raises ProgramFailure."""

    def predict_tensors(self, predictor: Predictor, request: Request) -> Any:
        """One output per item in a request in the Open Inference Protocol. Raises ProgramFailure."""

    def describe(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """Those inputs, as the protocol describes them; `facts` is "input" of meta.json."""
