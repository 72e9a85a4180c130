"""The door to Linux networking (pyroute2): links, addresses, routes, tc filters."""
