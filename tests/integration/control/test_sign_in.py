"""People sign in: with a password, and with a real OpenID provider."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from management import ADMIN, Platform
from servers.oidc import running_provider

PASSWORD = "correct horse battery"


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def invited(http: httpx.Client, name: str = "ana", **more: object) -> str:
    return str(http.post("/api/v1/people", json={"name": name, **more}).raise_for_status().json()["token"])


def with_password(http: httpx.Client, browser: httpx.Client, name: str = "ana", role: str = "developer") -> None:
    token = invited(http, name)
    http.put(f"/api/v1/members/{name}", json={"roles": [role]}).raise_for_status()
    browser.post("/api/v1/sign-in/password", json={"token": token, "password": PASSWORD}).raise_for_status()


def signed_in(browser: httpx.Client, name: str = "ana", password: str = PASSWORD) -> httpx.Response:
    return browser.post("/api/v1/sign-in", json={"name": name, "password": password})


def test_a_person_sets_a_password_once_and_signs_in(http: httpx.Client, browser: httpx.Client, platform: Platform) -> None:
    assert signed_in(browser).status_code == 401
    token = invited(http)
    http.put("/api/v1/members/ana", json={"roles": ["developer"]}).raise_for_status()
    weak = browser.post("/api/v1/sign-in/password", json={"token": token, "password": "short"})
    assert (weak.status_code, weak.json()["error"]["code"]) == (400, "invalid_request")
    body = {"token": token, "password": PASSWORD}
    assert browser.post("/api/v1/sign-in/password", json=body).status_code == 204
    assert browser.post("/api/v1/sign-in/password", json=body).status_code == 401
    answer = signed_in(browser)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    me = browser.get("/api/v1/me").raise_for_status().json()
    assert (me["name"], me["kind"], me["roles"]) == ("ana", "person", ["developer"])
    raw = b"".join(path.read_bytes() for path in platform.services.home.root.glob("*.db*"))
    for secret in (PASSWORD, token, browser.cookies["modelyard_session"]):
        assert secret.encode() not in raw


def test_a_change_in_a_session_needs_its_token(http: httpx.Client, browser: httpx.Client) -> None:
    with_password(http, browser)
    csrf = signed_in(browser).json()["csrf"]
    change = {"actions": ["infer"]}
    assert browser.post("/api/v1/me/keys", json=change).status_code == 403
    assert browser.post("/api/v1/me/keys", json=change, headers={"x-csrf-token": "x" * 43}).status_code == 403
    made = browser.post("/api/v1/me/keys", json=change, headers={"x-csrf-token": csrf})
    assert made.status_code == 201
    assert made.json()["principal"] == "ana"


def test_signing_out_ends_the_session_even_for_a_stolen_cookie(http: httpx.Client, browser: httpx.Client, url: str) -> None:
    with_password(http, browser)
    csrf = signed_in(browser).json()["csrf"]
    stolen = {"modelyard_session": browser.cookies["modelyard_session"]}
    assert browser.post("/api/v1/sign-out", headers={"x-csrf-token": csrf}).status_code == 204
    assert httpx.get(f"{url}/api/v1/me", cookies=stolen).status_code == 401


def test_wrong_passwords_block_a_name_for_longer_and_longer(http: httpx.Client, browser: httpx.Client) -> None:
    with_password(http, browser)
    answers = [signed_in(browser, password=f"wrong password {number}") for number in range(7)]
    assert [answer.status_code for answer in answers[:6]] == [401] * 6
    assert answers[6].status_code == 429
    assert int(answers[6].headers["retry-after"]) >= 1
    assert signed_in(browser).status_code == 429  # the right one too, so that guessing learns nothing
    unknown = signed_in(browser, name="nobody")
    assert unknown.json() == answers[0].json()


def test_a_disabled_person_loses_session_and_keys(http: httpx.Client, browser: httpx.Client, url: str) -> None:
    with_password(http, browser)
    body = {"name": "ana", "password": PASSWORD}
    key = browser.post("/api/v1/sign-in/key", json=body).raise_for_status().json()
    assert key["expires_ns"]
    assert "develop" in key["actions"]
    headers = {"authorization": f"Bearer {key['key']}"}
    assert httpx.get(f"{url}/api/v1/me", headers=headers).json()["name"] == "ana"
    signed_in(browser)
    http.patch("/api/v1/people/ana", json={"disabled": True}).raise_for_status()
    assert browser.get("/api/v1/me").status_code == 401
    assert httpx.get(f"{url}/api/v1/me", headers=headers).status_code == 401
    assert signed_in(browser).status_code == 401


def test_changing_a_password_ends_every_session(http: httpx.Client, browser: httpx.Client) -> None:
    with_password(http, browser)
    csrf = signed_in(browser).json()["csrf"]
    send = {"x-csrf-token": csrf}
    wrong = browser.put("/api/v1/me/password", json={"old": "not the old one", "new": PASSWORD * 2}, headers=send)
    assert wrong.status_code == 401
    assert browser.put("/api/v1/me/password", json={"old": PASSWORD, "new": PASSWORD * 2}, headers=send).status_code == 204
    assert browser.get("/api/v1/me").status_code == 401
    assert signed_in(browser).status_code == 401
    assert signed_in(browser, password=PASSWORD * 2).status_code == 200


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with running_provider() as made:
        yield made


MAPPING = [
    {"group": "ml-team", "workspace": "birds", "roles": ["developer"]},
    {"group": "root", "admin": True},
]


@pytest.fixture
def provider(http: httpx.Client, issuer: str) -> str:
    http.post("/api/v1/workspaces", json={"name": "birds"}).raise_for_status()
    body = {"issuer": issuer, "client_id": "modelyard", "client_secret": "planted-secret", "mapping": MAPPING}
    shown = http.put("/api/v1/providers/corp", json=body).raise_for_status()
    assert "planted-secret" not in shown.text
    return issuer


def consented(to: str, name: str) -> str:
    """What the provider sends the browser back with, once a person has agreed."""
    return httpx.post(to, data={"sub": name}, follow_redirects=False).headers["location"]


def came_back(browser: httpx.Client, name: str) -> httpx.Response:
    to = browser.get("/api/v1/sign-in/oidc/corp").headers["location"]
    return browser.get(consented(to, name))


def test_a_person_of_a_provider_gets_the_roles_of_its_groups(
    http: httpx.Client, browser: httpx.Client, provider: str, platform: Platform
) -> None:
    assert came_back(browser, "ana").status_code == 200
    me = browser.get("/api/v1/me").json()
    assert (me["name"], me["workspace"], me["roles"], me["admin"]) == ("ana", "birds", ["developer"], False)
    assert [person["issuer"] for person in http.get("/api/v1/people").json()] == [provider]
    raw = b"".join(path.read_bytes() for path in platform.services.home.root.glob("*.db*"))
    assert b"planted-secret" not in raw


def test_groups_that_change_change_roles_at_the_next_sign_in(http: httpx.Client, browser: httpx.Client, provider: str) -> None:
    came_back(browser, "ana").raise_for_status()
    body = {"issuer": provider, "client_id": "modelyard", "mapping": [{**MAPPING[0], "group": "staff", "roles": ["consumer"]}]}
    http.put("/api/v1/providers/corp", json=body).raise_for_status()
    came_back(browser, "ana").raise_for_status()
    assert browser.get("/api/v1/me").json()["roles"] == ["consumer"]


def test_an_administrators_group_administers_and_nobody_without_a_group_comes_in(browser: httpx.Client, provider: str) -> None:
    assert came_back(browser, "ben").status_code == 403
    came_back(browser, "cleo").raise_for_status()
    assert browser.get("/api/v1/me").json()["admin"] is True


def test_an_account_is_never_found_by_its_name(http: httpx.Client, browser: httpx.Client, provider: str) -> None:
    with_password(http, browser, role="owner")
    came_back(browser, "ana").raise_for_status()
    assert browser.get("/api/v1/me").json()["name"] == "ana-2"


def test_an_answer_for_another_browser_state_or_code_is_refused(browser: httpx.Client, provider: str, url: str) -> None:
    to = browser.get("/api/v1/sign-in/oidc/corp").headers["location"]
    asked = parse_qs(urlsplit(to).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["nonce"]
    assert asked["state"]
    back = consented(to, "ana")
    assert httpx.get(back).status_code == 401  # no cookie
    assert browser.get(back.replace("state=", "state=x")).status_code == 401
    with httpx.Client(base_url=url) as other:
        other.get("/api/v1/sign-in/oidc/corp")
        assert other.get(back).status_code == 401  # the cookie of another attempt
    code = parse_qs(urlsplit(back).query)["code"][0]
    assert browser.get(back.replace(code, "made-up")).status_code == 401
    again = browser.get("/api/v1/sign-in/oidc/corp").headers["location"]
    stolen = f"/api/v1/sign-in/oidc/corp/callback?code={code}&state={parse_qs(urlsplit(again).query)['state'][0]}"
    assert browser.get(stolen).status_code == 401  # a code that was given for another verifier


def test_a_denied_sign_in_is_told(browser: httpx.Client, provider: str) -> None:
    answer = browser.get("/api/v1/sign-in/oidc/corp/callback?error=access_denied")
    assert answer.status_code == 401
    assert "access_denied" in answer.json()["error"]["message"]


def test_a_provider_must_be_trustworthy(http: httpx.Client) -> None:
    body = {"issuer": "http://login.example.org", "client_id": "x"}
    assert http.put("/api/v1/providers/corp", json=body).status_code == 400
    assert http.get("/api/v1/sign-in/oidc/nowhere").status_code == 404
    assert http.headers["authorization"] == f"Bearer {ADMIN}"
