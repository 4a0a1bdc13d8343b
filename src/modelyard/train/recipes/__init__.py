"""Recipes: everything a person decides about a training, from YAML or flags. Free of the libraries that train."""
