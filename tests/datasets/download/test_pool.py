"""Proxies of the environment, with what they ask of those who come."""

from __future__ import annotations

import base64

import pytest
import urllib3

from biofm.datasets.download.pool import pool_for

TIMEOUT = urllib3.Timeout(1.0)


def test_a_proxys_name_and_password_are_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:p%40ss@proxy.test:3128")
    monkeypatch.setenv("no_proxy", "here.test")
    pool = pool_for("https://there.test/file", 2, TIMEOUT)
    assert isinstance(pool, urllib3.ProxyManager)
    login = base64.b64encode(b"me:p@ss").decode()
    assert pool.proxy_headers["proxy-authorization"] == f"Basic {login}"
    assert not isinstance(pool_for("https://here.test/file", 2, TIMEOUT), urllib3.ProxyManager)


def test_a_proxy_without_a_name_is_sent_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    pool = pool_for("http://there.test/file", 2, TIMEOUT)
    assert isinstance(pool, urllib3.ProxyManager)
    assert "proxy-authorization" not in pool.proxy_headers
