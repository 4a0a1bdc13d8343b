"""Fronts: each carries the one handler over a transport and owns everything that is the transport's business."""
