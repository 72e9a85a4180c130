"""BGP: RIBs, filters and sessions (pure) and the speakers that run them."""
