"""The console: static files that speak to the REST API from a browser; no build step, nothing from elsewhere."""
