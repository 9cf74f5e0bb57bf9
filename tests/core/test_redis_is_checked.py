"""A Redis that forgets is pointed out before production depends on it."""

import pytest
import redis

from apps.core.checks import check_redis


@pytest.fixture
def configure(settings):
    """Change the real server's configuration for one test."""
    client = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True)
    before = {name: client.config_get(name)[name] for name in ("appendonly", "maxmemory-policy")}
    yield client.config_set
    for name, value in before.items():
        client.config_set(name, value)
    client.close()


def test_the_embedded_server_is_set_up_well():
    assert check_redis(None) == []


def test_a_server_that_evicts_is_named_with_what_to_set(configure):
    configure("maxmemory-policy", "allkeys-lru")
    (warning,) = check_redis(None)
    assert warning.id == "lepton.W002"
    assert warning.hint == "Set maxmemory-policy noeviction."


def test_a_server_that_does_not_answer_is_not_judged(settings):
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    assert check_redis(None) == []
