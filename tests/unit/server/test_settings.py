"""Settings from flags and environment."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidRequest
from modelyard.server.settings import Settings
from modelyard.server.settings_reading import assemble, describe


def test_defaults_need_no_environment():
    settings, warnings = assemble({})
    assert (settings.port, settings.management_port, settings.host) == (8000, 8080, "127.0.0.1")
    assert settings.home == Path("~/.modelyard").expanduser()
    assert settings.database() == f"sqlite:///{settings.home}/modelyard.db"
    assert warnings == ()


def test_flags_win_over_the_environment_and_none_means_not_given():
    settings, _ = assemble({"MODELYARD_PORT": "9000", "MODELYARD_HOST": "0.0.0.0"}, {"port": 9001, "host": None})
    assert (settings.port, settings.host) == (9001, "0.0.0.0")


def test_empty_variable_counts_as_unset():
    assert assemble({"MODELYARD_PORT": ""}).settings.port == 8000


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("MODELYARD_MAX_BODY_BYTES", "2MiB", "max_body_bytes", 2 * 2**20),
        ("MODELYARD_MAX_BODY_BYTES", "5 MB", "max_body_bytes", 5_000_000),
        ("MODELYARD_DRAIN_SECONDS", "2m", "drain_seconds", 120.0),
        ("MODELYARD_PREDICTION_RETENTION_SECONDS", "30d", "prediction_retention_seconds", 30 * 86400.0),
        ("MODELYARD_ACCESS_LOG", "false", "access_log", False),
        ("MODELYARD_LOG_LEVEL", "DEBUG", "log_level", "debug"),
    ],
)
def test_values_are_written_as_people_write_them(variable, text, name, value):
    assert getattr(assemble({variable: text}).settings, name) == value


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("MODELYARD_PORT", "99999", "MODELYARD_PORT is '99999'"),
        ("MODELYARD_PORT", "http", "MODELYARD_PORT is 'http'"),
        ("MODELYARD_DRAIN_SECONDS", "soon", "write it like 30s"),
        ("MODELYARD_MAX_BODY_BYTES", "64 MoB", "write it like 64MiB"),
        ("MODELYARD_ACCESS_LOG", "perhaps", "cannot be used"),
        ("MODELYARD_LOG_LEVEL", "loud", "cannot be used"),
        ("MODELYARD_MANAGEMENT_PORT", "8000", "both listen on port 8000"),
        ("MODELYARD_GRPC_PORT", "8080", "another MODELYARD_GRPC_PORT"),
        ("MODELYARD_GRPC_PORT", "-2", "MODELYARD_GRPC_PORT is '-2'"),
    ],
)
def test_malformed_values_are_refused_with_a_sentence(variable, text, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        assemble({variable: text})


def test_a_contract_moves_the_ports_and_says_that_it_needs_no_key():
    settings, warnings = assemble({}, {"contract": "sagemaker"})
    assert (settings.port, settings.management_port, settings.grpc_port, settings.host) == (8080, 8081, -1, "127.0.0.1")
    assert "need no key" in warnings[0]
    settings, _ = assemble({"MODELYARD_CONTRACT": "sagemaker", "SAGEMAKER_BIND_TO_PORT": "8081"})
    assert (settings.port, settings.management_port) == (8081, 8082)
    assert not settings.contract_models
    assert assemble({"MODELYARD_CONTRACT": "sagemaker", "SAGEMAKER_MULTI_MODEL": "true"}).settings.contract_models
    assert assemble({"SAGEMAKER_BIND_TO_PORT": "7000", "AIP_HTTP_PORT": "7001"}).settings.port == 8000


def test_vertex_names_its_port_and_routes_and_our_own_settings_win():
    environment = {"AIP_HTTP_PORT": "7001", "AIP_HEALTH_ROUTE": "/v1/endpoints/1", "AIP_PREDICT_ROUTE": "/v1/endpoints/1:predict"}
    settings, _ = assemble(environment, {"contract": "vertex"})
    assert (settings.port, settings.contract_health_route) == (7001, "/v1/endpoints/1")
    assert settings.contract_predict_route == "/v1/endpoints/1:predict"
    assert assemble(environment | {"AIP_STORAGE_URI": "gs://b/m"}, {"contract": "vertex"}).settings.contract_model == "gs://b/m"
    settings, _ = assemble(environment | {"MODELYARD_CONTRACT_PREDICT_ROUTE": "/mine", "MODELYARD_PORT": "7002"}, {"contract": "vertex"})
    assert (settings.port, settings.contract_predict_route) == (7002, "/mine")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"MODELYARD_CONTRACT": "azure"}, "MODELYARD_CONTRACT is 'azure'"),
        ({"MODELYARD_CONTRACT": "vertex", "AIP_PREDICT_ROUTE": "predict"}, "plain path"),
        ({"MODELYARD_CONTRACT": "vertex", "AIP_HEALTH_ROUTE": "/{name}"}, "plain path"),
        ({"MODELYARD_CONTRACT": "vertex", "AIP_HTTP_PORT": "x"}, "AIP_HTTP_PORT is 'x'"),
        ({"MODELYARD_CONTRACT": "vertex", "MODELYARD_CONTRACT_MODELS": "yes"}, "Only the contract sagemaker"),
        ({"MODELYARD_CONTRACT": "sagemaker", "MODELYARD_GRPC_PORT": "8001"}, "no part of a container contract"),
    ],
)
def test_contracts_that_cannot_be_kept_are_refused(environment, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        assemble(environment)


def test_unknown_variables_are_warned_about_with_the_nearest():
    (warning,) = assemble({"MODELYARD_WORKRES": "2", "MODELYARD_URL": "http://x", "PATH": "/bin"}).warnings
    assert "MODELYARD_WORKRES" in warning
    assert "Did you mean 'MODELYARD_WORKERS'" in warning


def test_admin_key_is_shown_nowhere():
    secret = "a-very-secret-admin-key"
    settings = assemble({"MODELYARD_ADMIN_KEY": secret}).settings
    assert settings.admin_key == secret
    assert secret not in repr(settings)
    with pytest.raises(InvalidRequest) as refused:
        assemble({"MODELYARD_ADMIN_KEY": "short-secret"})
    assert "short-secret" not in str(refused.value)


def test_settings_survive_being_handed_over():
    settings = assemble({"MODELYARD_WORKERS": "3"}, {"home": "/tmp/x"}).settings
    assert Settings.decode(settings.encode()) == settings


def test_every_setting_has_a_sentence():
    lines = describe()
    assert {line.name for line in lines} == set(Settings.__struct_fields__)
    assert all(line.text.endswith(".") for line in lines)
    assert all(line.variable == f"MODELYARD_{line.name.upper()}" for line in lines)


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_sentence(text):
    for variable in ("MODELYARD_PORT", "MODELYARD_DRAIN_SECONDS", "MODELYARD_MAX_BODY_BYTES"):
        try:
            settings = assemble({variable: text}).settings
        except InvalidRequest:
            continue
        assert settings.drain_seconds >= 0


@pytest.mark.parametrize(("text", "meant"), [("yes", True), ("No", False), ("on", True), ("off", False), ("true", True), ("0", False)])
def test_yes_and_no_may_be_said_in_several_words(text, meant):
    assert assemble({"MODELYARD_ACCESS_LOG": text}).settings.access_log is meant
