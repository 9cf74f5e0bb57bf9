"""API keys for programs: `Authorization: Bearer lp_...`."""

from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from apps.accounts.models import ApiKey, User
from apps.accounts.services import find_api_key, touch_api_key


class ApiKeyAuthentication(BaseAuthentication):
    """Signs in the key's person in the key's team, with the role the person has there now."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        key = find_api_key(parts[1].decode("latin-1")) if len(parts) == 2 else None
        if key is None:
            message = _("This API key is not valid: it was mistyped or revoked. Make a new one on the page API keys.")
            raise AuthenticationFailed(message, code="invalid_api_key")
        touch_api_key(key)
        http_request = request._request
        http_request.team = key.team
        http_request.membership = key.user.memberships.get(team=key.team)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ApiKeyScheme(OpenApiAuthenticationExtension):
    """How the API's schema describes the key."""

    target_class = ApiKeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
