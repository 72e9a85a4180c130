"""The simulator: any mix of documents becomes a world, and probes become verdicts with their reasons. No server, no I/O."""
