"""How values are kept in the cache. Django's own way is pickle, which runs whatever the cache's server hands out."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

from django.core.cache import cache
from redis.exceptions import RedisError


class JsonSerializer:
    """Whole numbers stay plain, so that the server can count with them; tuples come back as lists."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        """None for what somebody else has written."""
        with contextlib.suppress(ValueError):
            return json.loads(data)


def remembered(key: str, make: Callable[[], Any], *, seconds: int) -> Any:
    """What `make` gave, at most so old. Without the cache's server it is made each time: no page is lost for it."""
    try:
        return cache.get_or_set(key, make, seconds)
    except RedisError:
        return make()
