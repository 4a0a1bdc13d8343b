"""Libraries that run models as they were brought; one file each, imported where such a model is loaded."""
