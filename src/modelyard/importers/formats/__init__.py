"""One file a format; ``importers/table.py`` names them."""
