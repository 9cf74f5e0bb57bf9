"""The site's ASGI application with one event loop, asked as a client would."""

import asyncio

import httpx

from lepton_site.gateway import Gateway
from lepton_site.messages import BodyLimit


class Site:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.app = BodyLimit(gateway)
        self.runner = asyncio.Runner()

    def __call__(self, method: str, path: str, secret: str = "", **options) -> httpx.Response:
        return self.runner.run(self.ask(method, path, secret, **options))

    async def ask(
        self, method: str, path: str, secret: str = "", *, client: str = "127.0.0.1", **options
    ) -> httpx.Response:
        """`client` is the address that the request comes from."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {secret}"} if secret else {})
        transport = httpx.ASGITransport(self.app, client=(client, 4000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.request(method, path, headers=headers, **options)
