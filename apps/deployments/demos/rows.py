"""Demos that are asked with a row of a table: a form with a field for each column."""

import json
from typing import Any

from django.http import HttpRequest

from apps.core.errors import Unprocessable
from apps.deployments.demos.asking import TOP_K, ask
from apps.deployments.forms import RowForm
from apps.deployments.models import Deployment
from apps.deployments.samples import input_columns, sample_row
from apps.registry import figures
from workers.inference.framing import JSON, SAMPLE, Question


def prepare(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """The form, filled in with what was sent or with the usual values, and what a number that it says is worth."""
    version = deployment.version
    columns = input_columns(version)
    data = request.POST if request.method == "POST" and "sample" not in request.POST else None
    error = version.metrics.get("test", {}).get("mae")
    return {
        "form": RowForm(data, columns=columns, initial=RowForm.example(columns)),
        "target": version.meta.get("target", ""),
        "usual_error": "" if error is None else figures.plain(error),
    }


def predict(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """Of the row that was filled in, or of the model's sample."""
    columns = input_columns(deployment.version)
    if "sample" in request.POST:
        row = sample_row(deployment.version)
        form = RowForm(columns=columns, initial=RowForm.example(columns, row))
        return ask(request, deployment, Question(SAMPLE, top_k=TOP_K)) | {"form": form, "is_sample": True}
    form = RowForm(request.POST, columns=columns)
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        raise Unprocessable(f"{form.fields[name].label}: {errors[0]}", code="wrong_type")
    question = Question(JSON, json.dumps({"row": form.row()}).encode(), TOP_K)
    return ask(request, deployment, question) | {"form": form}
