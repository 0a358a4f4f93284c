# SPDX-License-Identifier: Apache-2.0
"""
An Entra-like authority, a metadata service and a model server that believes their tokens. The authority verifies what it is shown:
signature, audience and expiry of an assertion, the client's id and secret. `script` makes it answer anything else.
"""
import base64
import collections
import hashlib
import json
import threading
import time
import urllib.parse
import uuid

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import upstream as upstreams

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT_ID = "6731de76-14a6-49ae-97bc-6eba6914391e"
OBJECT_ID = "1b5fc1f5-1f2c-4f6a-9a37-0a1b8d5c9e11"
SECRET = "the~client.secret"
SCOPE = "https://cognitiveservices.azure.com/.default"
SUBJECT = "system:serviceaccount:team:app"
EXCHANGE = "api://AzureADTokenExchange"
TOKEN_PATH = f"/{TENANT}/oauth2/v2.0/token"
IMDS_PATH = "/metadata/identity/oauth2/token"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Asked = collections.namedtuple("Asked", "form received at")


def encode(data):
    data = json.dumps(data).encode() if isinstance(data, dict) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def new_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sign(key, claims, **header):
    """A compact JWS, RS256."""
    message = f"{encode({'alg': 'RS256', 'typ': 'JWT', **header})}.{encode(claims)}"
    return f"{message}.{encode(key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Refused(Exception):
    """code and text of an AADSTS error, with the OAuth word and status that go with it."""

    def __init__(self, code, text, error="invalid_client", status=400):
        super().__init__(f"AADSTS{code}: {text}")
        self.code, self.error, self.status = code, error, status


def error_body(code, text, error="invalid_client"):
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    trace = str(uuid.uuid4())
    return json.dumps({"error": error, "error_codes": [code], "timestamp": stamp, "trace_id": trace, "correlation_id": trace,
                       "error_description": f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {trace} Timestamp: {stamp}"})


class Cluster:
    """What Kubernetes does: signs service account tokens and keeps one in a projected volume, swapped by a link."""

    def __init__(self, folder, life=3600):
        self.key = new_key()
        self.folder, self.life, self.round = folder, life, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.token_file = folder / "azure-identity-token"
        self.rotate()

    def token(self, **claims):
        now = int(time.time())
        return sign(self.key, {"iss": "https://oidc.example/cluster/", "sub": SUBJECT, "aud": [EXCHANGE], "iat": now, "nbf": now - 5,
                               "exp": now + self.life, "jti": str(uuid.uuid4()), **claims})

    def rotate(self, text=None, **claims):
        self.round += 1
        fresh = self.folder / f"..round{self.round}"
        fresh.mkdir()
        (fresh / self.token_file.name).write_text(text if text is not None else self.token(**claims))
        link, data = self.folder / "..data_tmp", self.folder / "..data"
        link.symlink_to(fresh.name)
        link.rename(data)
        if not self.token_file.is_symlink():
            self.token_file.symlink_to(f"..data/{self.token_file.name}")


class Authority(upstreams.Upstream):
    """
    Issues tokens of `life` seconds. `script` is a list of handlers(asked, connection), each used for one request before the
    authority is itself again; `always` replaces it until set to None.
    """

    def __init__(self, cluster=None, certificate=None, life=3600, **options):
        self.cluster, self.life = cluster, life
        self.certificate = certificate
        self.extra = {}
        self.script, self.always = [], None
        self.asked, self.issued = [], {}
        self.revoked = set()
        self.lock = threading.Lock()
        self.seen_assertions = set()
        super().__init__(self._token, **options)

    def base(self):
        return self.url

    def _token(self, received, connection):
        form = dict(urllib.parse.parse_qsl(received.body.decode(), strict_parsing=True)) if received.body else {}
        asked = Asked(form, received, time.monotonic())
        with self.lock:
            self.asked.append(asked)
            act = self.always or (self.script.pop(0) if self.script else self.itself)
        act(asked, connection)

    def itself(self, asked, connection):
        try:
            connection.answer(200, json.dumps(self.grant(asked)))
        except Refused as refused:
            connection.answer(refused.status, error_body(refused.code, str(refused).split(": ", 1)[1], refused.error))

    def grant(self, asked):
        received, form = asked.received, asked.form
        if received.target != TOKEN_PATH or received.method != "POST":
            raise Refused(900023, "there is no such endpoint", "invalid_request", 404)
        headers = {name.lower(): value for name, value in received.headers}
        if headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Refused(900144, "no form", "invalid_request")
        if form.get("grant_type") != "client_credentials":
            raise Refused(70003, "grant type", "unsupported_grant_type")
        if form.get("client_id") != CLIENT_ID:
            raise Refused(700016, "Application was not found in the directory", "unauthorized_client")
        if not form.get("scope", "").endswith("/.default"):
            raise Refused(70011, "The provided request must include a 'scope' input parameter.", "invalid_scope")
        if "client_secret" in form:
            if form["client_secret"] != SECRET:
                raise Refused(7000215, "Invalid client secret provided.", status=401)
        elif form.get("client_assertion_type") == JWT_BEARER:
            self.check_assertion(form.get("client_assertion", ""))
        else:
            raise Refused(7000218, "The request body must contain: 'client_assertion' or 'client_secret'.", status=401)
        return self.issue(form["scope"])

    def issue(self, scope):
        now = int(time.time())
        audience = scope.removesuffix("/.default")
        token = sign(ISSUER_KEY, {"aud": audience, "oid": OBJECT_ID, "sub": OBJECT_ID, "appid": CLIENT_ID, "iat": now,
                                  "exp": now + self.life, "jti": str(uuid.uuid4())})
        with self.lock:
            self.issued[token] = time.monotonic() + self.life
        return {"token_type": "Bearer", "expires_in": self.life, "ext_expires_in": self.life, "access_token": token, **self.extra}

    # ---- assertions ----

    def check_assertion(self, text):
        try:
            head, body, signature = text.split(".")
            header, claims = json.loads(decode(head)), json.loads(decode(body))
            message, signature = f"{head}.{body}".encode(), decode(signature)
        except ValueError:
            raise Refused(50027, "Invalid JWT token.", "invalid_request") from None
        if "x5t#S256" in header:
            self.check_certificate(header, claims, message, signature)
        else:
            self.check_federated(claims, message, signature)
        now = time.time()
        if not claims["nbf"] - 60 <= now < claims["exp"]:
            raise Refused(700024, "Client assertion is not within its valid time range.")

    def check_federated(self, claims, message, signature):
        try:
            self.cluster.key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise Refused(50013, "Assertion failed signature validation.", "invalid_grant") from None
        if claims["sub"] != SUBJECT:
            raise Refused(700213, "No matching federated identity record found for presented assertion subject.")
        if EXCHANGE not in claims["aud"]:
            raise Refused(700212, "No matching federated identity record found for presented assertion audience.")

    def check_certificate(self, header, claims, message, signature):
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        thumbprint = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
        kinds = {"PS256": padding.PSS(padding.MGF1(hashes.SHA256()), 32), "RS256": padding.PKCS1v15()}
        try:
            assert decode(header["x5t#S256"]) == thumbprint
            certificate.public_key().verify(signature, message, kinds[header["alg"]], hashes.SHA256())
        except (InvalidSignature, AssertionError, KeyError):
            raise Refused(700027, "Client assertion failed signature validation.") from None
        assert claims["iss"] == claims["sub"] == CLIENT_ID and claims["aud"] == f"{self.base()}{TOKEN_PATH}", claims
        assert claims["exp"] - claims["nbf"] <= 600 and claims["jti"] not in self.seen_assertions, claims
        self.seen_assertions.add(claims["jti"])

    # ---- for model servers ----

    def believes(self, received, slack=0):
        """Whether the request carries one of our tokens that has not ended."""
        headers = {name.lower(): value for name, value in received.headers}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        with self.lock:
            return token not in self.revoked and self.issued.get(token, 0) + slack > time.monotonic()

    def revoke_all(self):
        with self.lock:
            self.revoked.update(self.issued)


class Metadata(Authority):
    """The instance metadata service of a virtual machine."""

    def grant(self, asked):
        path, _, query = asked.received.target.partition("?")
        headers = {name.lower(): value for name, value in asked.received.headers}
        params = dict(urllib.parse.parse_qsl(query, strict_parsing=True))
        assert (path, headers.get("metadata"), params.pop("api-version")) == (IMDS_PATH, "true", "2018-02-01")
        assert "x-forwarded-for" not in headers
        self.params = params
        if params.get("client_id", CLIENT_ID) != CLIENT_ID:
            raise Refused(0, "Identity not found", "invalid_request")
        assert not params["resource"].endswith("/.default")
        issued = self.issue(params["resource"] + "/.default")
        now = int(time.time())
        return {"access_token": issued["access_token"], "refresh_token": "", "expires_in": str(self.life),
                "expires_on": str(now + self.life), "not_before": str(now), "resource": params["resource"], "token_type": "Bearer"}


ISSUER_KEY = new_key()


# ---- handlers for scripts ----

def refuse(code, text="scripted", error="invalid_client", status=400, headers=()):
    return lambda asked, connection: connection.answer(status, error_body(code, text, error), headers)


def plainly(status, body="", headers=(), content_type="application/json"):
    return lambda asked, connection: connection.answer(status, body, headers, content_type)


def hang_up(asked, connection):
    connection.close()
