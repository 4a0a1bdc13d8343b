"""A folder and an S3 bucket keep the same promises."""

import pytest

from modelyard.testing.blob_contract import BlobContract


@pytest.fixture
def folder_url(tmp_path):
    return str(tmp_path / "blobs")


@pytest.fixture(params=["folder", "s3"])
def blob_url(request):
    return request.getfixturevalue(f"{request.param}_url")


class TestBlobs(BlobContract):
    pass
