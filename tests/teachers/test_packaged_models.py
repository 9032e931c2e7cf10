"""Packaged models have one spelling, for teachers and students alike."""

import pytest

from student.encoders.packaged import resolve_model
from teachers.engines.weights import check_model
from teachers.packaged_models import PACKAGED_MODELS, packaged_model


def test_each_packaged_model_is_looked_up_by_its_name() -> None:
    for name, model in PACKAGED_MODELS.items():
        assert packaged_model(name) is model and model.name == name
    assert packaged_model("no/such-model") is None


@pytest.mark.parametrize("lookup", [packaged_model, check_model, resolve_model])
def test_the_former_spelling_is_refused_with_the_new_one(lookup: object) -> None:
    assert callable(lookup)
    with pytest.raises(
        ValueError, match=r"^unknown model 'all-MiniLM-L6-v2'; it is now spelled 'all-minilm-l6-v2'$"
    ):
        lookup("all-MiniLM-L6-v2")
