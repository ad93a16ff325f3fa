"""What a server allows."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from ..errors import ConfigError
from ..requests import MOST_IMAGES, whole

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits and access of a server. ConfigError for values that cannot be meant."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: a free one
    api_key: str | None = field(default=None, repr=False)  # wanted as `Authorization: Bearer KEY`
    max_body: int = 32 << 20  # bytes of one request
    max_pixels: int = 16 << 20  # of one picture that is sent
    max_new_tokens: int = 1024
    max_images: int = 4  # drawn by one request
    max_steps: int = 100  # sampler steps
    timeout: float = 300.0  # seconds for one request, waiting in line included
    body_timeout: float = 30.0  # seconds in which a request must have arrived
    drain: float = 30.0  # seconds that running requests get when the server is told to stop
    warmup: bool = True  # run the real path before /ready says so

    def __post_init__(self):
        whole("port", self.port, 0, 65535)
        for name, most in (("max_body", 1 << 40), ("max_pixels", 178_000_000), ("max_new_tokens", 1 << 20),
                           ("max_images", MOST_IMAGES), ("max_steps", 1000)):  # fmt: skip
            whole(name, getattr(self, name), 1, most)
        for name in ("timeout", "body_timeout", "drain"):
            if not 0 < getattr(self, name) <= 86400:
                raise ConfigError(f"{name}={getattr(self, name)!r} is not a number of seconds above 0, up to a day")
        if self.api_key is not None and len(self.api_key) < 16:
            raise ConfigError(f"the API key has {len(self.api_key)} characters; use at least 16")
        if self.api_key is None and not is_loopback(self.host):
            raise ConfigError(
                f"host={self.host!r} can be reached from other machines; set an API key, or use 127.0.0.1"
            )
