"""The doors of Causeway: REST, console, command line, and the entry points of the processes."""
