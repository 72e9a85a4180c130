"""What stands around every route: limits, the id of a request, headers."""
