"""Fakes of the providers' APIs, faithful to their documented shapes and their documented ways to fail.

Each fake is a plain object with ``handle(question) -> answer``: `transport` plugs it into an httpx client without a
socket, `serving` puts it behind a real local HTTP server.
"""
