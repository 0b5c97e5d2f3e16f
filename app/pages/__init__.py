"""Web pages: what people browse, made on the server out of what the API answers with."""
