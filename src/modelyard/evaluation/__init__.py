"""Metrics and plots of a model's predictions. Needs the extra ``train``; never imported by a serving process."""
