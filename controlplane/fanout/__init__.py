"""From the change log to every agent: who may see what, and bytes that all agents of a cluster share."""
