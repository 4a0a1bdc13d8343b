"""The management API: FastAPI under ``/api/v1``, one router file per resource, calling the services and nothing else."""
