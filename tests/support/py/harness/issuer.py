# SPDX-License-Identifier: Apache-2.0
"""An OpenID Connect issuer as far as a resource server sees it: discovery, a key set that rotates, tokens of any shape."""
import base64
import json
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from . import upstream as upstreams

AUDIENCE = "api://postern"
WIDTHS = {"ES256": 32, "ES384": 48, "ES512": 66}
CURVES = {"ES256": ("P-256", ec.SECP256R1), "ES384": ("P-384", ec.SECP384R1), "ES512": ("P-521", ec.SECP521R1)}


def encode(data):
    data = json.dumps(data).encode() if isinstance(data, (dict, list)) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, width=None):
    return encode(value.to_bytes(width or (value.bit_length() + 7) // 8, "big"))


class Key:
    """A private key of the algorithm named, with its public side as a JWK."""

    def __init__(self, kid, algorithm="ES256"):
        self.kid, self.algorithm = kid, algorithm
        if algorithm in CURVES:
            self.private = ec.generate_private_key(CURVES[algorithm][1]())
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self):
        public = self.private.public_key()
        about = {"kid": self.kid, "use": "sig"}
        if self.algorithm in CURVES:
            width, point = WIDTHS[self.algorithm], public.public_numbers()
            return {**about, "kty": "EC", "crv": CURVES[self.algorithm][0], "x": number(point.x, width), "y": number(point.y, width)}
        if self.algorithm == "EdDSA":
            return {**about, "kty": "OKP", "crv": "Ed25519", "x": encode(public.public_bytes_raw())}
        return {**about, "kty": "RSA", "n": number(public.public_numbers().n), "e": number(public.public_numbers().e)}

    def raw_signature(self, message):
        digest = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}.get(self.algorithm[2:])
        if self.algorithm in CURVES:
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(digest())))
            width = WIDTHS[self.algorithm]
            return r.to_bytes(width, "big") + s.to_bytes(width, "big")
        if self.algorithm == "EdDSA":
            return self.private.sign(message)
        if self.algorithm.startswith("PS"):
            return self.private.sign(message, padding.PSS(padding.MGF1(digest()), digest.digest_size), digest())
        return self.private.sign(message, padding.PKCS1v15(), digest())

    def token(self, claims, **header):
        message = f"{encode({'alg': self.algorithm, 'kid': self.kid, **header})}.{encode(claims)}"
        return f"{message}.{encode(self.raw_signature(message.encode()))}"


class Issuer:
    """`keys` is the set as published; `fails` makes every answer this status until it is None again."""

    def __init__(self, *keys):
        self.keys = list(keys) or [Key("first")]
        self.fails = None
        self.asked = []
        self.server = upstreams.Upstream(self.handle)
        self.url = f"{self.server.url}/tenant/v2.0"

    def handle(self, received, connection):
        self.asked.append(received)
        if self.fails:
            connection.answer(self.fails, "{}")
        elif received.target == "/tenant/v2.0/.well-known/openid-configuration":
            connection.answer(200, json.dumps({"issuer": self.url, "jwks_uri": f"{self.server.url}/keys?tenant=1"}))
        elif received.target.startswith("/keys"):
            connection.answer(200, json.dumps({"keys": [key.jwk() for key in self.keys]}))
        else:
            connection.answer(404, "{}")

    def claims(self, **more):
        now = int(time.time())
        return {"iss": self.url, "aud": AUDIENCE, "sub": "subject", "azp": "app-one", "exp": now + 600, "nbf": now - 5, "iat": now - 5,
                **more}

    def token(self, key=None, **more):
        return (key or self.keys[0]).token(self.claims(**more))

    def key_fetches(self):
        return sum(received.target.startswith("/keys") for received in self.asked)

    def close(self):
        self.server.close()
