"""From a change to the last of thousands of agents."""
