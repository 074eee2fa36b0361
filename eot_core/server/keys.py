"""Who may connect to a gateway."""

from __future__ import annotations

from collections.abc import Mapping

from ..protocol.auth import AuthError, Credentials, verify_token


class KeyRing:
    """Secret by API key. Neither shows in a repr."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """
        Args:
            keys: at least one.

        Raises:
            ValueError: no key, or an empty key or secret.
        """
        self._keys: dict[str, str] = {}
        self.replace(keys)

    def replace(self, keys: Mapping[str, str]) -> None:
        """From now on these, for clients that connect. For a rotation, the old and the new for a while.

        Raises:
            ValueError: no key, or an empty key or secret; nothing has changed then.
        """
        if not isinstance(keys, Mapping) or not keys:
            raise ValueError("keys must have at least one API key with its secret: without any, nobody may connect")
        credentials = [Credentials(key, secret) for key, secret in keys.items()]
        self._keys = {each.api_key: each.api_secret for each in credentials}

    def authenticate(self, authorization: str, *, now: float) -> str:
        """The API key that signed the token.

        Args:
            authorization: the header's value, "Bearer ...".
            now: Unix seconds.

        Raises:
            AuthError: there is no token ("missing"), or it does not open the door.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthError("missing", "an Authorization header with a bearer token is needed")
        return verify_token(token.strip(), self._keys, now=now)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._keys)}>"
