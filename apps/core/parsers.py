"""One way to read JSON. Django REST framework imports it by its setting while it is itself being imported, so this
module imports nothing that leads back to its views."""

from typing import Any, BinaryIO

from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.parsers import JSONParser


class TextParser(JSONParser):
    """JSON whose texts the database can hold and an answer can repeat: without NUL, without half a character."""

    def parse(self, stream: BinaryIO, media_type: str | None = None, parser_context: dict | None = None) -> Any:
        try:
            data = super().parse(stream, media_type, parser_context)
            _check_texts(data)
        except RecursionError as error:
            raise exceptions.ParseError(_("The JSON is nested too deeply.")) from error
        return data


def _check_texts(value: Any) -> None:
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise exceptions.ParseError(_("The JSON has a text with a NUL character or with half of a surrogate pair."))
    if isinstance(value, dict | list):
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_texts(part)
