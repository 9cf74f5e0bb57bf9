from django.apps import AppConfig
from django.core.checks import Tags, register

from apps.core.checks import check_redis


class CoreConfig(AppConfig):
    name = "apps.core"

    def ready(self) -> None:
        register(check_redis, Tags.caches, deploy=True)
