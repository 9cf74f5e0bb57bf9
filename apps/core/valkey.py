"""The Valkey or Redis server itself, for sums that Django's cache cannot keep."""

from functools import cache

import redis
from django.conf import settings


@cache
def valkey() -> redis.Redis:
    """One pool of connections for this process; answers are text. Its calls raise redis.RedisError."""
    return redis.Redis.from_url(settings.REDIS_URL, decode_responses=True, **settings.REDIS_OPTIONS)
