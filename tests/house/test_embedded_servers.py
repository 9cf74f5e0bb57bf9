import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dj_database_url
import psutil
import psycopg
import pytest
import redis

from lepton_site import embedded


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A folder whose servers have run once: making a database takes longer than most of these tests."""
    with tempfile.TemporaryDirectory(prefix="lepton-template-") as folder:
        path = Path(folder).resolve() / "home"
        embedded.start(path, is_durable=False)
        embedded.stop(path)
        yield path


@pytest.fixture
def empty_home() -> Iterator[Path]:
    """A folder that is not there yet; what is started in it is stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="lepton-embedded-") as folder:
        path = Path(folder).resolve() / "home"
        yield path
        embedded.stop(path)


@pytest.fixture
def home(template: Path, empty_home: Path) -> Path:
    """A folder of its own for one pair of servers, stopped at the end."""
    subprocess.run(["cp", "-a", template, empty_home], check=True)
    return empty_home


def connect(home: Path) -> psycopg.Connection:
    parts = dj_database_url.parse(embedded.database_url(home))
    return psycopg.connect(host=parts["HOST"], user=parts["USER"], dbname=parts["NAME"], autocommit=True)


def keep(home: Path) -> None:
    """Write one row and one key."""
    with connect(home) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with redis.Redis.from_url(embedded.redis_url(home)) as client:
        client.set("kept", "42")
        client.waitaof(1, 0, 5000)


def assert_kept(home: Path) -> None:
    with connect(home) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    with redis.Redis.from_url(embedded.redis_url(home)) as client:
        assert client.get("kept") == b"42"


def server_processes(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        is_ours = any(str(home) in part for part in process.info["cmdline"] or ())
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def kill_servers(home: Path) -> None:
    killed = server_processes(home)
    for process in killed:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(killed, timeout=10)


def test_both_answer_and_a_second_start_changes_nothing(home: Path) -> None:
    embedded.start(home, is_durable=False)
    before = {process.pid for process in server_processes(home)}
    keep(home)
    embedded.start(home)
    assert_kept(home)
    assert {process.pid for process in server_processes(home)} == before


def test_stop_leaves_no_process_and_no_socket(home: Path) -> None:
    embedded.start(home, is_durable=False)
    assert len(server_processes(home)) >= 2
    embedded.stop(home)
    assert server_processes(home) == []
    assert list(embedded.socket_folder(home).iterdir()) == []
    embedded.stop(home)


def test_what_was_written_survives_a_kill(home: Path) -> None:
    embedded.start(home)
    keep(home)
    kill_servers(home)
    embedded.start(home)
    assert_kept(home)


def test_a_process_id_that_now_belongs_to_another_program_does_not_prevent_a_start(home: Path) -> None:
    embedded.start(home, is_durable=False)
    noted = home / "postgres" / "data" / "postmaster.pid"
    lines = noted.read_text().splitlines()
    kill_servers(home)
    noted.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    (home / "valkey" / "valkey.pid").write_text(f"{os.getpid()}\n")
    embedded.start(home, is_durable=False)
    assert embedded.is_postgres_running(home)
    assert embedded.is_valkey_running(home)


def test_an_interrupted_first_start_is_made_again(empty_home: Path) -> None:
    (empty_home / "postgres" / "fresh").mkdir(parents=True)
    (empty_home / "postgres" / "fresh" / "PG_VERSION").write_text("18\n")
    embedded.start_postgres(empty_home, is_durable=False)
    assert embedded.is_postgres_running(empty_home)


@pytest.mark.parametrize("name", ["d" * 90 + "/" + "e" * 90, "an 'apostrophe', a \"quote\" and a $sign", "a space"])
def test_the_name_of_the_folder_does_not_matter(template: Path, empty_home: Path, name: str) -> None:
    unusual = empty_home / name
    unusual.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", template, unusual], check=True)
    try:
        embedded.start(unusual, is_durable=False)
        keep(unusual)
        assert_kept(unusual)
    finally:
        embedded.stop(unusual)
    assert embedded.socket_folder(unusual).is_relative_to(empty_home) == (name == "a space")


def test_nobody_else_can_reach_the_servers(home: Path) -> None:
    embedded.start(home, is_durable=False)
    for folder in (embedded.socket_folder(home), home / "postgres", home / "valkey"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for process in server_processes(home):
        assert [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []


def test_a_socket_folder_that_somebody_else_made_is_refused(empty_home: Path) -> None:
    deep = empty_home / ("d" * 120)
    short = embedded.socket_folder(deep)
    short.symlink_to(empty_home.parent)
    try:
        with pytest.raises(embedded.EmbeddedServerError, match="belongs to another user"):
            embedded.start_valkey(deep)
    finally:
        short.unlink()


def test_valkey_never_forgets_a_key_to_save_memory(home: Path) -> None:
    embedded.start_valkey(home)
    with redis.Redis.from_url(embedded.redis_url(home)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


@pytest.mark.parametrize(
    ("url", "celery"),
    [
        ("unix:///home/a%20b/valkey.sock?db=3", "redis+socket:///home/a%20b/valkey.sock?virtual_host=3"),
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("rediss://host:6379/1?db=2", "rediss://host:6379/1?db=2"),
    ],
)
def test_celery_gets_the_same_address_in_its_own_spelling(url: str, celery: str) -> None:
    assert embedded.broker_url(url) == celery
