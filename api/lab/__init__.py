"""A federation of network namespaces on one machine: real agents, real packets."""
