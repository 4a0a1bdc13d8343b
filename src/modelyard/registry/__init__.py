"""Models and their immutable versions: checked, tried in confinement, stored whole or not at all."""
