"""Where the URLs to warm come from: one module per kind."""
