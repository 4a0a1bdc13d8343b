"""gRPC's own health protocol (``grpc.health.v1.Health``), which load balancers and Kubernetes ask."""
