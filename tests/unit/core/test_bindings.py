from __future__ import annotations

import pytest

from modelyard.core.access import Certificate
from modelyard.core.bindings import digest_of, digests_of, parse_binding
from modelyard.core.errors import InvalidRequest

FINGERPRINT = "ab" * 32


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (f"sha256:{FINGERPRINT}", f"sha256:{FINGERPRINT}"),
        ("sha256:" + ":".join(["AB"] * 32), f"sha256:{FINGERPRINT}"),
        ("subject: CN=pump-7,O=Example ", "subject:CN=pump-7,O=Example"),
    ],
)
def test_a_binding_is_kept_in_one_form(written, kept):
    assert parse_binding(written) == kept


@pytest.mark.parametrize(
    "written", ["", "sha256:", "sha256:ab", f"sha1:{FINGERPRINT}", "subject:", "CN=pump", "subject:a\nb", "sha256:" + "x" * 64]
)
def test_what_names_no_certificate_is_refused(written):
    with pytest.raises(InvalidRequest):
        parse_binding(written)


def test_a_certificate_is_found_by_itself_and_by_its_subject():
    certificate = Certificate(fingerprint=FINGERPRINT, subject="CN=pump-7")
    assert digests_of(certificate) == (digest_of(f"sha256:{FINGERPRINT}"), digest_of("subject:CN=pump-7"))
