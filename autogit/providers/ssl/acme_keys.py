"""Account keys of ACME: what is signed with them (RFC 8555 section 6.2); a private key leaves this module as a file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

if TYPE_CHECKING:
    from josepy.jwa import JWASignature
    from josepy.jwk import JWK

JsonObject = Mapping[str, object]
_HMAC_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class AccountKey:
    """A key that signs for an account, or for a certificate that is to be revoked with its own key."""

    jwk: JWK = field(repr=False)
    algorithm: JWASignature

    @classmethod
    def load(cls, pem: bytes) -> AccountKey:
        """Return the key of a PEM file without a passphrase. Raises ValueError where it is none that can sign here."""
        from josepy import jwa, jwk  # noqa: PLC0415 - 80 ms that only ACME needs

        try:
            key = load_pem_private_key(pem, None)
        except TypeError as exc:
            raise ValueError("it is protected by a passphrase") from exc
        if isinstance(key, rsa.RSAPrivateKey):
            return cls(jwk.JWKRSA(key=key), jwa.RS256)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            # The library signs with RS256 unless told: an elliptic key then ends in a bare AssertionError.
            algorithms = {"secp256r1": jwa.ES256, "secp384r1": jwa.ES384}
            if key.curve.name in algorithms:
                return cls(jwk.JWKEC(key=key), algorithms[key.curve.name])
        raise ValueError("keys of this kind are not used here")

    @property
    def thumbprint(self) -> str:
        """The key's name in key authorizations (RFC 7638, SHA-256, base64url)."""
        return base64url(self.jwk.thumbprint())

    @property
    def public(self) -> JsonObject:
        """The public half as a JWK, and nothing of the private one."""
        half: JsonObject = self.jwk.public_key().to_json()
        return half

    def sign(self, payload: JsonObject | None, url: str, *, nonce: str = "", kid: str = "") -> bytes:
        """Return a signed request; the public key is in it where there is no `kid`; None is a POST-as-GET."""
        from acme import jws  # noqa: PLC0415 - 80 ms that only ACME needs

        text = b"" if payload is None else json.dumps(payload).encode()
        raw_nonce = base64url_bytes(nonce) if nonce else None
        signed = jws.JWS.sign(text, self.jwk, self.algorithm, raw_nonce, url, kid or None)
        return str(signed.json_dumps()).encode()

    def bound_to(self, kid: str, hmac_key: str, url: str) -> JsonObject:
        """Return the proof that an external account wants this key (RFC 8555 section 7.3.4). Raises ValueError."""
        from acme.messages import Directory, ExternalAccountBinding  # noqa: PLC0415 - 80 ms that only ACME needs

        plain = "".join(hmac_key.split()).rstrip("=").translate(str.maketrans("+/", "-_"))
        if not _HMAC_KEY.fullmatch(plain) or len(plain) % 4 == 1:
            raise ValueError("the HMAC key is not base64url")
        # Whatever key it is given is sent as it is: never the private one.
        public = self.jwk.public_key()
        bound: JsonObject = ExternalAccountBinding.from_data(public, kid, plain, Directory({"newAccount": url}))
        return _plain(bound)


def new_account_key() -> bytes:
    """Return a fresh P-256 key as PKCS #8 PEM; it belongs in files of mode 0600 only."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_authorization(token: str, key: AccountKey) -> str:
    """Return what proves that a challenge is met by the owner of an account key (RFC 8555 section 8.1)."""
    return f"{token}.{key.thumbprint}"


def dns_value(authorization: str) -> str:
    """Return the TXT value of a key authorization (RFC 8555 section 8.4)."""
    return base64url(hashlib.sha256(authorization.encode()).digest())


def base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def base64url_bytes(text: str) -> bytes:
    """Return what base64url without padding stands for. Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _plain(value: object) -> JsonObject:
    """Return JSON without the library's own types in it."""
    from josepy.interfaces import JSONDeSerializable  # noqa: PLC0415 - as above

    plain: JsonObject = json.loads(json.dumps(value, default=JSONDeSerializable.json_dump_default))
    return plain
