"""gRPC's server reflection, with which tools like grpcurl find out what can be called."""
