"""Jobs beside a running agent that make known what its kernel does: names, counts of rules, flows, metrics."""
