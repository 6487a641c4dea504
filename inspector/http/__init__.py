"""The HTTP server of a running inspection: connections, TLS, routes, the page."""
