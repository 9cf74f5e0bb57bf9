"""Live pages: the whole page for a browser, one partial for htmx, and a word when there is nothing more to ask for."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

STOP_POLLING = 286  # htmx swaps the answer and stops asking


def render_live(
    request: HttpRequest, template: str, context: dict, *, partials: dict[str, str], is_live: bool
) -> HttpResponse:
    """Answer the page, or the partial whose DOM id htmx asked for.

    `partials` maps the ids a client may ask for to their templates; any other id gets the whole page. With `is_live`
    false the answer tells htmx to stop polling.
    """
    context = {**context, "is_live": is_live}
    partial = partials.get(request.htmx.target or "") if request.htmx else None
    if partial is None:
        return render(request, template, context)
    return render(request, partial, context, status=200 if is_live else STOP_POLLING)
