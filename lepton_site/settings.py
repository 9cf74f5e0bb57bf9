"""One settings file; every choice comes from the environment, or on a machine that joined from what its site told it.
docs/settings.md lists them all."""

import os
from pathlib import Path

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from redis.backoff import NoBackoff
from redis.retry import Retry

from lepton_site import embedded
from lepton_site.joined import read_node_env
from lepton_site.secret import load_or_make_secret

BASE_DIR = Path(__file__).resolve().parent.parent
JOINED: dict[str, str] = {}  # what the site told this machine when it joined


def env(name: str, default: str = "") -> str:
    return os.environ.get(name, JOINED.get(name, default))


def env_list(name: str, default: str) -> list[str]:
    return [item.strip() for item in env(name, default).split(",") if item.strip()]


def env_bool(name: str, default: bool = False) -> bool:
    return env(name, "1" if default else "0").lower() in {"1", "true", "yes", "on"}


LEPTON_HOME = Path(env("LEPTON_HOME", str(BASE_DIR / ".lepton"))).resolve()
JOINED |= read_node_env(LEPTON_HOME)
LEPTON_STORAGE_URL = env("LEPTON_STORAGE_URL", f"file://{LEPTON_HOME}/storage")
LEPTON_NODE_NAME = env("LEPTON_NODE_NAME", "local")
LEPTON_NODE_ADDRESS = env("LEPTON_NODE_ADDRESS")
LEPTON_MAX_UPLOAD_BYTES = int(env("LEPTON_MAX_UPLOAD_BYTES", str(50 * 10**9)))
LEPTON_UPLOAD_CHUNK_BYTES = int(env("LEPTON_UPLOAD_CHUNK_BYTES", str(8 * 2**20)))
LEPTON_MAX_PREDICT_BYTES = int(env("LEPTON_MAX_PREDICT_BYTES", str(20 * 2**20)))
LEPTON_LEASE_SECONDS = int(env("LEPTON_LEASE_SECONDS", "60"))
BEAT_SECONDS = LEPTON_LEASE_SECONDS / 12  # machines beat, runners renew and the site looks: each often in one lease
LEPTON_CHECKPOINT_SECONDS = float(env("LEPTON_CHECKPOINT_SECONDS", "5"))
LEPTON_SPEED_SECONDS = float(env("LEPTON_SPEED_SECONDS", "1.6"))
LEPTON_SPARES = env_bool("LEPTON_SPARES", default=True)
LEPTON_DECODED_BYTES = int(env("LEPTON_DECODED_BYTES", str(10 * 10**9)))
LEPTON_CHECKPOINTS = Path(env("LEPTON_CHECKPOINTS", str(LEPTON_HOME / "checkpoints"))).resolve()
LEPTON_MAX_CHECKPOINT_BYTES = int(env("LEPTON_MAX_CHECKPOINT_BYTES", str(2 * 10**9)))
LEPTON_HUB_URL = env("LEPTON_HUB_URL", "https://huggingface.co")
LEPTON_HUB_TOKEN = env("LEPTON_HUB_TOKEN")
LEPTON_CURRENCY = env("LEPTON_CURRENCY", "€")
LEPTON_BASE_URL = env("LEPTON_BASE_URL", "http://127.0.0.1:8000")

DEBUG = env_bool("LEPTON_DEBUG")
SECRET_KEY = env("LEPTON_SECRET_KEY") or load_or_make_secret(LEPTON_HOME)
ALLOWED_HOSTS = env_list("LEPTON_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("LEPTON_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "csp",
    "apps.core",
    "apps.accounts",
    "apps.resources",
    "apps.registry",
    "apps.datasets",
    "apps.jobs",
    "apps.deployments",
    "apps.recipes",
    "apps.dashboard",
    "lepton_site",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "apps.core.static.StaticFilesMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.accounts.middleware.LanguageMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.accounts.middleware.TeamMiddleware",
    "apps.core.middleware.DomainErrorMiddleware",
]

ROOT_URLCONF = "lepton_site.urls"
ASGI_APPLICATION = "lepton_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
            ],
            "builtins": ["apps.core.templatetags.lepton"],
        },
    },
]

DATABASE_URL = env("DATABASE_URL") or embedded.database_url(LEPTON_HOME)
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_health_checks=True)}
# Under ASGI each request may come on a new thread, so connections are pooled per process, not kept per thread.
# A machine that is cut off must learn of it, and must hold no rows longer than its jobs: the first four are for libpq,
# the last for the server. What DATABASE_URL names itself comes before them.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "tcp_user_timeout": 10_000,
    "options": f"-c idle_in_transaction_session_timeout={LEPTON_LEASE_SECONDS}s",
    **DATABASES["default"].get("OPTIONS", {}),
    "pool": {
        "min_size": 1,
        "max_size": int(env("LEPTON_DATABASE_POOL", "12")),
        "timeout": 10,
        "max_idle": 60,
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env("REDIS_URL") or embedded.redis_url(LEPTON_HOME)
# Without `retry` redis-py tries ten times, and a hung server would hold a request for half a minute.
REDIS_OPTIONS = {"socket_timeout": 3, "socket_connect_timeout": 2, "retry": Retry(NoBackoff(), 0)}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": REDIS_OPTIONS | {"serializer": "apps.core.caching.JsonSerializer"},
    }
}

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "dashboard:home"
LOGOUT_REDIRECT_URL = "accounts:sign_in"
CSRF_FAILURE_VIEW = "apps.core.views.csrf_failure"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]  # each by its own name: whoever looks for it reads no other
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["lepton_site.formats"]
LANGUAGE_COOKIE_AGE = 365 * 86400
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = env("LEPTON_TIME_ZONE", "UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = LEPTON_HOME / "static"
STATICFILES_DIRS = [
    BASE_DIR / "static",
    ("tabler", BASE_DIR / "node_modules/@tabler/core/dist"),
    ("tabler-icons", BASE_DIR / "node_modules/@tabler/icons-webfont/dist"),
    ("inter", BASE_DIR / "node_modules/@fontsource-variable/inter"),
    ("uplot", BASE_DIR / "node_modules/uplot/dist"),
]
WHITENOISE_USE_FINDERS = DEBUG

IS_HTTPS = env_bool("LEPTON_HTTPS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = IS_HTTPS
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_HSTS_SECONDS = 31536000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env_bool("LEPTON_BEHIND_PROXY") else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
DATA_UPLOAD_MAX_MEMORY_SIZE = LEPTON_MAX_PREDICT_BYTES

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:", "blob:"],
        "media-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.accounts.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.core.parsers.TextParser"],
    "DEFAULT_PAGINATION_CLASS": "apps.core.pagination.Pagination",
    "PAGE_SIZE": 50,
    "EXCEPTION_HANDLER": "apps.core.api.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Lepton API",
    "VERSION": "1",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "lepton_site.prediction_schema.add_predictions",
    ],
    "ENUM_NAME_OVERRIDES": {
        "JobKind": "apps.jobs.models.Job.Kind",
        "JobStatus": "apps.jobs.models.Job.Status",
        "ReplicaStatus": "apps.deployments.models.Replica.Status",
    },
}

CELERY_BROKER_URL = embedded.broker_url(REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker that gave up would have to be started by hand
# A doorbell must not hold a request: where the broker does not answer, ringing gives up after one socket timeout.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    "retry_on_timeout": False,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "apps.jobs.tasks.tick", "schedule": BEAT_SECONDS, "options": {"expires": BEAT_SECONDS}},
    "advance_recipes": {"task": "apps.recipes.tasks.advance_runs", "schedule": 3.0, "options": {"expires": 3}},
    "sweep_storage": {"task": "apps.jobs.tasks.sweep_storage", "schedule": 86400.0, "options": {"expires": 3600}},
    "forget_requests": {
        "task": "apps.deployments.tasks.forget_requests",
        "schedule": 3600.0,
        "options": {"expires": 900},
    },
    "give_up_load_tests": {
        "task": "apps.deployments.tasks.give_up_load_tests",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "measure_storage": {"task": "apps.resources.tasks.measure_storage", "schedule": 900.0, "options": {"expires": 300}},
    "watch_budgets": {"task": "apps.resources.tasks.watch_budgets", "schedule": 60.0, "options": {"expires": 60}},
    "sweep": {"task": "apps.datasets.tasks.sweep_uploads", "schedule": 3600.0, "options": {"expires": 600}},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"httpx": {"level": "WARNING"}},
    "root": {"handlers": ["console"], "level": env("LEPTON_LOG_LEVEL", "INFO")},
}
