"""The policy engine: compiling whole worlds, and judging probes."""
