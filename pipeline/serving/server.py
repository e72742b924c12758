"""Starts the web process on one socket.

Belongs here: listening, and what is refused before it. Does not belong here: the application (app).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import uvicorn

from pipeline.serving.app import POLICY, create
from pipeline.serving.guard import OwnPagesOnly, SafeHeaders
from pipeline.settings import ConfigurationError, Settings


def serve(settings: Settings, host: str, port: int, on_start: Callable[[str], None]) -> None:
    """Answer requests until interrupted; `on_start` gets the address.

    Raises:
        ConfigurationError: the host is no address of this machine alone.
        OSError: the port is taken, or the host has no such address.

    """
    if not _is_loopback(host):
        raise ConfigurationError(
            f"serve: {host} can be reached from other machines, and the pages have no access control yet: use "
            "127.0.0.1, and a proxy that asks for a login"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # from here on requests wait, so the address that is printed answers
        name = f"[{host}]" if ":" in host else host
        on_start(f"http://{name}:{listener.getsockname()[1]}/")
        app = OwnPagesOnly(SafeHeaders(create(settings), POLICY), host)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
