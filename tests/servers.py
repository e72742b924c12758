"""Real PostgreSQL and Redis servers for one test, on a free loopback port.

Belongs here: starting and stopping them; who has not installed one sees the test skipped. Does not belong here: what
the tests do with them.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

SECONDS_TO_START = 30.0


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server; tests create the databases."""

    port: int
    password: str

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"


@contextlib.contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server that asks for passwords, in its own folder; if the test is root, it runs as another user."""
    pytest.importorskip("adbc_driver_postgresql", reason="the package adbc-driver-postgresql is not installed")
    found = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), reverse=True)]
    initdb = next((Path(path).resolve() for path in found if path), None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed: no initdb")
    password = "s3cret /@:?%'\\"  # every character that a DSN has to escape
    # Not below pytest's own folder, which other users cannot read.
    with tempfile.TemporaryDirectory(prefix="token-analytics-postgres-", ignore_cleanup_errors=True) as folder:
        as_user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            entry = names.get("postgres") or names["nobody"]
            os.chown(folder, entry.pw_uid, entry.pw_gid)
            as_user |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        secret, data = Path(folder, "password"), Path(folder, "data")
        secret.write_text(password)
        secret.chmod(0o644)
        made = [initdb, "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8"]
        subprocess.run([*made, "--no-locale", "--no-sync"], check=True, stdout=subprocess.DEVNULL, **as_user)
        port = free_port()
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        command = [str(initdb.with_name("postgres")), "-D", str(data)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, **as_user)
        try:
            _wait_for(port, server)
            yield Postgres(port, password)
        finally:
            server.send_signal(signal.SIGINT)  # ends sessions that are still open
            server.wait()


@dataclass
class Redis:
    """A Redis server that a test may kill and restart; its log keeps the data."""

    folder: Path
    port: int
    password: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [_redis_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]
        command += ["--requirepass", self.password] if self.password else []
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _wait_for(self.port, self.process)
        import redis

        with redis.Redis.from_url(self.url) as client:
            while True:
                with contextlib.suppress(redis.exceptions.BusyLoadingError):
                    client.ping()
                    return
                time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def redis_server(folder: Path, password: str = "") -> Iterator[Redis]:
    """A server that writes each command to `folder` before it answers."""
    pytest.importorskip("redis", reason="the package redis is not installed")
    _redis_program()
    server = Redis(folder, free_port(), password)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _redis_program() -> str:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    return program


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server listens."""
    deadline = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the server on port {port} did not start")
