"""The signing key, made on first start and kept in the data folder."""

from pathlib import Path

from django.core.management.utils import get_random_secret_key

from apps.core.kept import load_or_make


def load_or_make_secret(home: Path) -> str:
    """Return the key stored in `home`; two processes that start at once agree on one."""
    return load_or_make(home / "secret_key", get_random_secret_key)
