"""What the cache keeps, and what it refuses to run."""

import pickle

import redis
from django.conf import settings
from django.core.cache import cache

from apps.core.caching import remembered


class Exploit:
    def __reduce__(self):
        return (exec, ("raise AssertionError('the cache ran what it read')",))


def test_values_come_back_as_they_were():
    cache.set("reaper", [1.5, "a", None])
    assert cache.get("reaper") == [1.5, "a", None]
    cache.add("counter", 0)
    assert cache.incr("counter") == 1 and cache.get("counter") == 1


def test_a_pickle_in_the_cache_is_never_run():
    cache.set("reaper", 1)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.set(cache.make_key("reaper"), pickle.dumps(Exploit()))
    assert cache.get("reaper") is None


def test_what_is_remembered_is_made_once_and_without_the_server_each_time(settings):
    made = []

    def make() -> list:
        made.append(1)
        return []

    assert [remembered("empty", make, seconds=60) for _ in range(3)] == [[], [], []] and len(made) == 1
    away = settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:9/0"}
    settings.CACHES = {"default": away}
    assert [remembered("empty", make, seconds=60) for _ in range(2)] == [[], []] and len(made) == 3
