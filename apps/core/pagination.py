"""One pagination for all lists. Django REST framework imports it by its setting while it is itself being imported, so
this module imports nothing that leads back to its views."""

from rest_framework.pagination import LimitOffsetPagination


class Pagination(LimitOffsetPagination):
    default_limit = 50
    max_limit = 500
