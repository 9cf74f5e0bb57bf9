"""What one kind of demo page is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from apps.deployments.models import Deployment

Part = Callable[[HttpRequest, Deployment], dict[str, Any]]
RATE = 30


@dataclass(frozen=True)
class Demo:
    """One kind of demo page.

    `form` is the template that people ask with and `answer` the one that shows what came back; `invitation` stands
    below the title. `prepare` gives what the form shows before anything is asked, `predict` asks the model and gives
    what the answer shows; it raises DomainError. `rate` is how many predictions a stranger has in a minute, and `weigh`
    says how many of them one request counts as. `result` is the template around the answer, which htmx puts into
    `target` by `swap`. `media` is what is sent as a file, image or audio, `script` what the page needs of JavaScript.
    `waiting` is what stands where the answer will be.
    """

    form: str
    answer: str
    invitation: Any
    prepare: Part
    predict: Part
    rate: int = RATE
    weigh: Callable[[HttpRequest], int] = lambda _request: 1
    result: str = "deployments/_result.html"
    target: str = "#result"
    swap: str = "outerHTML"
    media: str = ""
    script: str = ""
    waiting: Any = ""
    is_wide: bool = False
