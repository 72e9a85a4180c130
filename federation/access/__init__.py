"""Who may do what, and where: rights, roles, scopes. Pure."""
