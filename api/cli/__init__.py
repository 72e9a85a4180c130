"""The command line `causeway`."""
