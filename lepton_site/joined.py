"""What a machine that joined was told by its site, kept in its data folder as ``node.env``: one NAME=value a line."""

import os
from collections.abc import Mapping
from pathlib import Path

FILE = "node.env"


def read_node_env(home: Path) -> dict[str, str]:
    """The settings of a joined machine; nothing for every other folder."""
    path = home / FILE
    if not path.is_file():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {name.strip(): value for name, equals, value in pairs if equals and not name.lstrip().startswith("#")}


def write_node_env(home: Path, values: Mapping[str, str]) -> Path:
    """Keep `values`, readable by this account alone: they hold the passwords of the site's servers."""
    if broken := [name for name, value in values.items() if "\n" in f"{name}{value}" or "\r" in f"{name}{value}"]:
        raise ValueError(f"{broken} have more than one line")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, temporary = home / FILE, home / f"{FILE}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return temporary.replace(path)
