"""The web server's entry: the prediction gateway in front of Django."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_site.settings")

django_application = get_asgi_application()  # before the gateway, which imports models

from lepton_site.gateway import Gateway  # noqa: E402
from lepton_site.messages import BodyLimit  # noqa: E402
from lepton_site.protocol import PredictionProtocol  # noqa: E402

gateway = Gateway(django_application)
application = BodyLimit(gateway)


class Protocol(PredictionProtocol):
    """For uvicorn: ``--http lepton_site.asgi:Protocol``."""

    predictions = gateway.predictions
