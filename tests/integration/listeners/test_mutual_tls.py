"""Listeners that ask clients for certificates."""

from __future__ import annotations

import ssl

import httpx
import pytest

from certificates import Authority
from integration.listeners.test_tls import grpc_client
from modelyard.testing.platform import running_platform


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def platform(authority, tmp_path_factory):
    home = tmp_path_factory.mktemp("mtls") / "home"
    settings = {"tls_certificate": str(authority.issue("server")), "tls_client_ca": str(authority.file)}
    with running_platform(home, workers=1, settings=settings) as running:
        running.environment |= {"MODELYARD_CA": str(authority.file), "MODELYARD_CERTIFICATE": str(authority.issue("alice"))}
        yield running


def context(authority, chain=None):
    made = ssl.create_default_context(cafile=authority.file)
    if chain is not None:
        made.load_cert_chain(chain)
    return made


def test_who_shows_a_good_certificate_is_answered(platform, authority):
    for url in (platform.inference, platform.url):
        assert httpx.get(f"{url}/readyz", verify=context(authority, authority.issue("bob"))).status_code == 200
    assert "ready:          yes" in platform.run("status").stdout


def test_who_shows_none_or_a_foreign_one_is_not(platform, authority, tmp_path):
    foreign = Authority(tmp_path / "foreign", "Other CA").issue("mallory")
    for url in (platform.inference, platform.url):
        for chain in (None, foreign):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{url}/readyz", verify=context(authority, chain))
    without = platform.environment.pop("MODELYARD_CERTIFICATE")
    try:
        refused = platform.run("status", check=False)
    finally:
        platform.environment["MODELYARD_CERTIFICATE"] = without
    assert refused.returncode != 0
    assert "MODELYARD_CERTIFICATE" in refused.stderr


def test_grpc_asks_too(platform, authority):
    assert grpc_client(platform, authority, authority.issue("carol")).stdout.strip() == "True"
    refused = grpc_client(platform, authority)
    assert refused.returncode != 0
