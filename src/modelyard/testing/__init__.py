"""Contract suites and fakes, shipped for authors of plugins; only tests import them."""
