"""The site's own files: style sheets, scripts, fonts and pictures."""

from django.http import HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

from apps.core.files import StreamedFile


class BareFile(StreamedFile):
    """A file whose headers somebody else has already decided."""

    def set_headers(self, filelike) -> None:
        pass


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise, with answers that the ASGI server can send block by block: its own would be read into memory first,
    and Django would warn of it at every file."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> BareFile:
        """The file, a range of it, a redirect or "not modified", whichever the request's headers ask for."""
        found = static_file.get_response(request.method, request.META)
        response = BareFile(found.file or (), status=int(found.status))
        del response["content-type"]
        for name, value in found.headers:
            response[name] = value
        return response
