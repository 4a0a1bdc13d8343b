"""From what a person wrote to a recipe, or to one sentence about what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from modelyard.core.errors import InvalidRequest, did_you_mean
from modelyard.train.recipes.adapter import AdapterRecipe
from modelyard.train.recipes.encoder import EncoderRecipe
from modelyard.train.recipes.images import ImageRecipe
from modelyard.train.recipes.language import LanguageModelRecipe
from modelyard.train.recipes.search import SearchPlan
from modelyard.train.recipes.series import SeriesRecipe
from modelyard.train.recipes.table import TableRecipe
from modelyard.train.recipes.text import TextRecipe

AnyRecipe = TableRecipe | ImageRecipe | SeriesRecipe | TextRecipe | EncoderRecipe | LanguageModelRecipe | AdapterRecipe
Wanted = TypeVar("Wanted", bound=AnyRecipe)
KINDS: Mapping[str, type[AnyRecipe]] = {
    "table": TableRecipe,
    "images": ImageRecipe,
    "series": SeriesRecipe,
    "text": TextRecipe,
    "encoder": EncoderRecipe,
    "language_model": LanguageModelRecipe,
    "adapter": AdapterRecipe,
}
"""The field ``kind`` → the recipe."""


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of every recipe."""
    return TypeAdapter(Annotated[AnyRecipe, Field(discriminator="kind")]).json_schema()


def parse_recipe(source: str | Mapping[str, Any]) -> AnyRecipe:
    """A recipe from YAML text or from plain data.

    Raises InvalidRequest with one sentence that names the field, what is wrong and, for an unknown field, the nearest known one.
    """
    if isinstance(source, str):
        try:
            source = yaml.safe_load(source)
        except yaml.YAMLError as error:
            raise InvalidRequest(f"The recipe is no valid YAML: {' '.join(str(error).split())[:200]}.") from None
    if not isinstance(source, Mapping):
        raise InvalidRequest("A recipe must be a mapping of fields, with at least 'target: COLUMN', or 'kind: images'.")
    kind = source.get("kind", "table")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidRequest(f"There is no kind of recipe {kind!r}.{did_you_mean(str(kind), KINDS)} Kinds: {', '.join(KINDS)}.")
    try:
        return KINDS[kind].model_validate(dict(source))
    except ValidationError as error:
        raise InvalidRequest(_sentence(error, KINDS[kind])) from None


def parse_table_recipe(source: str | Mapping[str, Any]) -> TableRecipe:
    """The same where only a recipe for tables can be meant."""
    return _of(source, TableRecipe)


def parse_image_recipe(source: str | Mapping[str, Any]) -> ImageRecipe:
    """The same where only a recipe for images can be meant."""
    return _of(source, ImageRecipe)


def parse_series_recipe(source: str | Mapping[str, Any]) -> SeriesRecipe:
    """The same where only a recipe for series can be meant."""
    return _of(source, SeriesRecipe)


def parse_text_recipe(source: str | Mapping[str, Any]) -> TextRecipe:
    """The same where only a recipe for texts can be meant."""
    return _of(source, TextRecipe)


def parse_encoder_recipe(source: str | Mapping[str, Any]) -> EncoderRecipe:
    """The same where only a recipe for encoders can be meant."""
    return _of(source, EncoderRecipe)


def parse_language_recipe(source: str | Mapping[str, Any]) -> LanguageModelRecipe:
    """The same where only a recipe for language models can be meant."""
    return _of(source, LanguageModelRecipe)


def parse_adapter_recipe(source: str | Mapping[str, Any]) -> AdapterRecipe:
    """The same where only a recipe for adapters can be meant."""
    return _of(source, AdapterRecipe)


def plan_of(recipe: AnyRecipe) -> SearchPlan | None:
    """What is searched, for the kinds that can be."""
    return None if isinstance(recipe, LanguageModelRecipe | AdapterRecipe | EncoderRecipe) else recipe.search


def _of(source: str | Mapping[str, Any], kind: type[Wanted]) -> Wanted:
    recipe = parse_recipe(source)
    if not isinstance(recipe, kind):
        raise InvalidRequest(f"This is a recipe of the kind {recipe.kind!r}; another is wanted here.")
    return recipe


def _sentence(error: ValidationError, recipe: type[BaseModel]) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_beside(first["loc"], recipe)
        return f"The recipe has an unknown field {place!r}.{did_you_mean(str(first['loc'][-1]), known)} Known here: {', '.join(known)}."
    if first["type"] == "missing":
        return f"The recipe lacks the field {place!r}; add it."
    return f"The recipe's field {place!r} cannot be {str(first['input'])[:60]!r}: {first['msg'].removeprefix('Value error, ')}."


def _fields_beside(place: tuple[int | str, ...], recipe: type[BaseModel]) -> list[str]:
    """The known fields of the part that a field stands in."""
    part = recipe
    for step in place[:-1]:
        field = part.model_fields.get(str(step))
        candidates = (field.annotation, *get_args(field.annotation)) if field is not None else ()
        inner = next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is not None:
            part = inner
    return list(part.model_fields)
