"""The web pages: what they say over HTTP, and what people do with them in a browser."""
