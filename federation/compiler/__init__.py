"""From a world to one node's tables, and from each change of it to the change of the tables: cost follows what a change touches."""
