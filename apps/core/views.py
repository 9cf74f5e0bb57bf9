"""What belongs to no noun: health, the docs page, and the answers to errors that Django itself finds."""

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.core import manual
from apps.core.endpoints import endpoint_groups
from apps.core.errors import DomainError, Forbidden, NotFound
from apps.core.middleware import answer_error


class ServerError(DomainError):
    status = 500
    code = "server_error"


@login_not_required
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while this process can answer and reaches the database; 503 otherwise."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "database unavailable"}, status=503)
    return JsonResponse({"status": "ok"})


SDK_SNIPPET = """\
import leptonai

client = leptonai.Client(
    api_key="lp_...",
    base_url="{base_url}",
)
model = client.load_model("image_classification")
print(model.predict("7.png"))
# {{"class": "7", "probability": 0.98}}
"""

CURL_SNIPPET = """\
curl {base_url}/v1/models/image_classification/predict \\
  -H "Authorization: Bearer lp_..." \\
  -H "Content-Type: image/png" \\
  --data-binary @7.png
"""

ROW_SNIPPET = """\
curl {base_url}/v1/models/tabular_classification/predict \\
  -H "Authorization: Bearer lp_..." \\
  -H "Content-Type: application/json" \\
  -d '{{"row": {{"age": 39, "education": "Bachelors"}}}}'
"""

TEXT_SNIPPET = """\
curl {base_url}/v1/models/text_classification/predict \\
  -H "Authorization: Bearer lp_..." \\
  -H "Content-Type: application/json" \\
  -d '{{"text": "my card was stolen"}}'
"""

USER_SNIPPET = """\
curl {base_url}/v1/models/recommendation/predict \\
  -H "Authorization: Bearer lp_..." \\
  -H "Content-Type: application/json" \\
  -d '{{"user": "42", "k": 10}}'
"""

AUDIO_SNIPPET = """\
curl {base_url}/v1/models/audio_classification/predict \\
  -H "Authorization: Bearer lp_..." \\
  -H "Content-Type: audio/wav" \\
  --data-binary @clip.wav
"""

ENVIRONMENT_SNIPPET = """\
export LEPTON_BASE_URL={base_url}
export LEPTON_API_KEY=lp_...
"""


@require_GET
def docs(request: HttpRequest) -> HttpResponse:
    """Getting started for programs, with this site's own address in every snippet."""
    base_url = request.build_absolute_uri("/").rstrip("/")
    snippets = {
        "sdk": SDK_SNIPPET,
        "curl": CURL_SNIPPET,
        "row": ROW_SNIPPET,
        "text": TEXT_SNIPPET,
        "audio": AUDIO_SNIPPET,
        "user": USER_SNIPPET,
        "environment": ENVIRONMENT_SNIPPET,
    }
    context = {name: text.format(base_url=base_url).rstrip() for name, text in snippets.items()}
    return render(
        request,
        "core/docs.html",
        {**context, "groups": endpoint_groups(), "base_url": base_url, "manual": manual.groups()},
    )


@require_GET
def manual_page(request: HttpRequest, slug: str) -> HttpResponse:
    """One page of the manual."""
    return render(request, "core/manual.html", {"page": manual.find_page(slug), "manual": manual.groups()})


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer_error(request, DomainError(_("The server does not understand this request."), code="bad_request"))


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer_error(request, Forbidden(_("Your role does not allow this.")))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    message = _("This form is too old or came from another site. Load the page again, then repeat what you did.")
    return answer_error(request, Forbidden(message, code="csrf_failed"))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer_error(request, NotFound(_("There is nothing here, or it belongs to another team.")))


def server_error(request: HttpRequest) -> HttpResponse:
    message = _("Something broke on our side. Nothing you did is lost; the log of the server says what happened.")
    return answer_error(request, ServerError(message))
