"""Connections by way of the proxy that the environment names, with the name and password that it has."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3


def pool_for(address: str, connections: int, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """What opens an address of http or https, with so many connections at once."""
    parts = urlsplit(address)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    if not proxy:
        return urllib3.PoolManager(maxsize=connections, timeout=timeout)
    named = urlsplit(proxy)
    # urllib3 itself leaves the name and password of a proxy's address alone.
    login = f"{unquote(named.username)}:{unquote(named.password or '')}" if named.username else None
    return urllib3.ProxyManager(
        proxy,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=login),
        maxsize=connections,
        timeout=timeout,
    )
