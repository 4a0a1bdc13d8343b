from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.addresses import NetworkRules, Proxies, networks, socket_path
from modelyard.core.errors import InvalidRequest


def rules(allowed="", denied=""):
    return NetworkRules(networks(allowed, "A"), networks(denied, "D"))


@pytest.mark.parametrize(
    ("allowed", "denied", "address", "admitted"),
    [
        ("", "", "203.0.113.9", True),
        ("10.0.0.0/8", "", "10.9.8.7", True),
        ("10.0.0.0/8, 2001:db8::/32", "", "2001:db8::5", True),
        ("10.0.0.0/8", "", "203.0.113.9", False),
        ("10.0.0.0/8", "", "2001:db8::5", False),
        ("", "203.0.113.0/24", "203.0.113.9", False),
        ("203.0.113.0/24", "203.0.113.9", "203.0.113.9", False),
        ("203.0.113.0/24", "203.0.113.9", "203.0.113.8", True),
        ("10.0.0.0/8", "", "unix", True),
        ("10.0.0.0/8", "", "no address", False),
        ("fe80::/10", "", "fe80::1%eth0", True),
    ],
)
def test_networks_are_admitted_as_the_lists_say(allowed, denied, address, admitted):
    assert rules(allowed, denied).admits(address) is admitted


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "example.com", "::1/129"])
def test_what_is_no_network_is_refused_by_the_name_of_its_setting(text):
    with pytest.raises(InvalidRequest, match="MODELYARD_ALLOW_NETWORKS"):
        networks(text, "MODELYARD_ALLOW_NETWORKS")


def proxied(value, *, trusted="10.0.0.0/8", name=b"x-forwarded-for", peer="10.0.0.1"):
    return Proxies(trusted, "P").client({name: value}, peer)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"203.0.113.9", "203.0.113.9"),
        (b"198.51.100.1, 203.0.113.9", "203.0.113.9"),  # what an untrusted caller claims before it does not count
        (b"203.0.113.9, 10.0.0.7", "203.0.113.9"),  # two proxies of ours
        (b"10.0.0.9, 10.0.0.7", "10.0.0.9"),
        (b"unknown, 10.0.0.7", "10.0.0.7"),
        (b"2001:db8::5", "2001:db8::5"),
        (b"203.0.113.9:4711", "203.0.113.9"),
        (b"::ffff:203.0.113.9", "203.0.113.9"),
        (b"", "10.0.0.1"),
        (b"<script>", "10.0.0.1"),
        (b",,,", "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is(value, client):
    assert proxied(value) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"for=203.0.113.9", "203.0.113.9"),
        (b'for="[2001:db8::5]:4711";proto=https', "2001:db8::5"),
        (b"for=198.51.100.1, For=203.0.113.9;by=10.0.0.1", "203.0.113.9"),
        (b"for=_hidden", "10.0.0.1"),
        (b"by=10.0.0.3", "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_too(value, client):
    assert proxied(value, name=b"forwarded") == client


def test_a_caller_by_unix_socket_is_trusted_where_the_setting_says_so():
    assert Proxies("unix", "P").trusts("unix")
    assert not Proxies("unix", "P").trusts("10.0.0.1")
    assert not Proxies("10.0.0.0/8", "P").trusts("unix")
    assert not Proxies("", "P")


@given(st.binary(max_size=200), st.sampled_from([b"x-forwarded-for", b"forwarded"]))
def test_whatever_a_header_says_an_address_comes_out(value, name):
    found = proxied(value, name=name)
    assert found == "10.0.0.1" or networks(found, "F")


def test_urls_of_unix_sockets_are_told_from_others():
    assert socket_path("unix:/run/a.sock") == "/run/a.sock"
    assert socket_path("http://127.0.0.1:8000") == ""


def test_an_ipv4_caller_of_a_listener_for_both_kinds_is_in_its_ipv4_network():
    rules = NetworkRules(denied=networks("10.0.0.0/8", "DENY"))
    assert not rules.admits("::ffff:10.1.2.3")
    assert rules.admits("::ffff:11.1.2.3")


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ({}, ""),
        ({b"x-forwarded-proto": b"https"}, "https"),
        ({b"x-forwarded-proto": b"https, HTTP "}, "http"),  # the nearest proxy is the one that is trusted
        ({b"x-forwarded-proto": b"javascript"}, ""),
        ({b"x-forwarded-proto": b"\xff"}, ""),
        ({b"forwarded": b"for=203.0.113.9;Proto=https"}, "https"),
        ({b"forwarded": b'for=198.51.100.1;proto=http, for=203.0.113.9;proto="https"'}, "https"),
        ({b"forwarded": b"for=203.0.113.9", b"x-forwarded-proto": b"https"}, ""),  # the standard header counts alone
    ],
)
def test_a_proxy_says_what_its_client_speaks(headers, scheme):
    assert Proxies.scheme(headers) == scheme
