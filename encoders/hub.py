"""Sparing users a minute of retries where no hub can be reached. No torch here."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import huggingface_hub.constants as constants

from encoders.together import Together


def offline_where_no_hub_resolves() -> AbstractContextManager[None]:
    """Let the hub library use its cache only, on a machine whose name service does not know the hub."""
    return _OFFLINE


@contextmanager
def _offline() -> Iterator[None]:
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _resolves(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


_OFFLINE = Together(_offline)


def _resolves(endpoint: str) -> bool:
    host = urllib.parse.urlsplit(endpoint).hostname or ""
    proxies = urllib.request.getproxies().keys() - {"no"}  # whom to ask directly is listed as if it were one, too
    if proxies and not urllib.request.proxy_bypass(host):
        return True  # the proxy resolves names
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
