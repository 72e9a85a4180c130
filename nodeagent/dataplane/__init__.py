"""What a node's packets meet: routes, programs, maps."""
