"""What `manage.py check --deploy` says about the servers that replace the embedded ones."""

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Warning

WANTED = {
    "appendonly": (
        "yes",
        "lepton.W001",
        "A restart would lose the messages that wake workers.",
    ),
    "maxmemory-policy": ("noeviction", "lepton.W002", "It may silently drop messages when its memory is full."),
}


def check_redis(app_configs: object, **_options: object) -> list[CheckMessage]:
    """Redis or Valkey keeps what it is given. One that does not answer, or hides its configuration, is not judged."""
    client = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True, **settings.REDIS_OPTIONS)
    try:
        found = {name: client.config_get(name).get(name) for name in WANTED}
    except redis.RedisError:
        return []
    finally:
        client.close()
    return [
        Warning(f"Redis runs with {name} {found[name]}. {why}", hint=f"Set {name} {value}.", id=code)
        for name, (value, code, why) in WANTED.items()
        if found[name] not in (None, value)
    ]
