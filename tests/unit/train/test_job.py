from types import SimpleNamespace

import pytest

from modelyard.core import plugins
from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.train import job
from modelyard.train.naming import model_name


def test_a_job_without_its_table_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="input 'data'"):
        job.run(SimpleNamespace(spec={"recipe": {"target": "y"}}, folder=tmp_path, inputs={}, report=print))


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    def missing(_):
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(plugins, "load_string", missing)
    with pytest.raises(Unsupported, match=r"'sklearn'; install it with: pip install 'modelyard\[train\]'"):
        job.run(SimpleNamespace(spec={"recipe": {"target": "y"}}, folder=tmp_path, inputs={"data": tmp_path}, report=print))


@pytest.mark.parametrize(
    ("text", "name"),
    [("penguins.csv", "penguins"), ("/a/My Data (1).CSV", "my-data-1"), ("größe.parquet", "gr-e"), ("???", "model"), ("a.b.csv", "a.b")],
)
def test_a_models_name_is_made_of_the_files(text, name):
    assert model_name(text) == name
