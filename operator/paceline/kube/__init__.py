"""A thin aiohttp client: the operator's only I/O with the API server."""
