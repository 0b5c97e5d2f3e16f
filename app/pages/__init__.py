"""The web pages, rendered on the server from the same content as the API."""
