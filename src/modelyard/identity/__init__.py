"""Who people and services are: issuing, listing and revoking keys."""
