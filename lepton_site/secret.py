"""The signing key, made on first start and kept in the data folder."""

import contextlib
import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def load_or_make_secret(home: Path) -> str:
    """Return the key stored in `home`; two processes that start at once agree on one."""
    path = home / "secret_key"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = home / f"secret_key.{os.getpid()}"
        temporary.touch(mode=0o600)
        temporary.write_text(get_random_secret_key())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_text()
