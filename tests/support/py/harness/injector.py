# SPDX-License-Identifier: Apache-2.0
"""An injector under test, called as an API server calls a webhook."""
import base64
import http.client
import json
import ssl
import subprocess
import uuid

from . import process, wire

KEYLESS = """\
apiVersion: postern/v1
listeners:
  - address: 127.0.0.1:4610
admin: {address: "0.0.0.0:4611"}
credentials: [{name: entra, workload_identity: {}}]
targets:
  - {name: east, azure: {endpoint: "https://contoso-east.openai.azure.com"}, credential: entra}
models: [{name: gpt-4o, targets: [east]}]
"""
OBSERVE = KEYLESS.replace('credentials: [{name: entra, workload_identity: {}}]\n', "").replace("credential: entra", "credential: {client: {}}")
TO_GATEWAY = """\
# The gateway is "größer": columns count characters, not bytes.
apiVersion: postern/v1
admin: {address: "0.0.0.0:4611"}
listeners: [{name: größe, address: "127.0.0.1:4610"}]
credentials: [{name: gateway, service_account_token: {file: /var/run/secrets/postern/token}}]
targets:
  - {name: central, openai: {url: "https://postern.gateway.svc:8443/v1"}, credential: gateway, tls: {ca: /etc/postern/ca.crt}}
models: [{name: "*", targets: [central]}]
"""
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

SETTINGS = {
    "image": "contoso.azurecr.io/postern:1.0.0",
    "profiles": [
        {"name": "default", "config": OBSERVE},
        {"name": "keyless", "config": KEYLESS},
        {"name": "to-gateway", "config": TO_GATEWAY, "ca": CA, "token": "postern", "env_extra": {"LOCAL_LLM_ENDPOINT": "/v1"}},
    ],
    "namespaces": [
        {"name": "shop"},
        {"name": "labs", "images": ["contoso.azurecr.io/postern:*"]},
        {"name": "team-*", "profiles": ["to-gateway", "default"],
         "annotations": ["profile", "port", "admin-port", "memory-request", "memory-limit"], "max_memory": "1Gi"},
    ],
}


def review(kind, thing, operation="CREATE", namespace="shop", **more):
    """An AdmissionReview as the API server writes it."""
    plural = {"Pod": "pods", "ConfigMap": "configmaps"}.get(kind, kind.lower() + "s")
    what = {"group": "", "version": "v1", "kind": kind}
    where = {"group": "", "version": "v1", "resource": plural}
    request = {"uid": str(uuid.uuid4()), "kind": what, "resource": where, "requestKind": what, "requestResource": where,
               "name": thing.get("metadata", {}).get("name", ""), "namespace": namespace, "operation": operation,
               "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "7a", "groups": ["system:authenticated"]},
               "object": thing, "oldObject": None, "dryRun": False,
               "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}, **more}
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


class Injector(process.Process):
    """`postern inject` with a certificate, on ports of its own."""

    def __init__(self, folder, certificates, settings=None, arguments=(), **config):
        self.port, self.admin = process.free_port(), process.free_port()
        self.certificates, self.config_path = certificates, folder / f"injector-{self.port}.yaml"
        self.config = config
        self.write(settings or SETTINGS)
        super().__init__([process.binary(), "inject", "--config", self.config_path, *arguments])
        self.wait_until(self.serves)
        self.connection = None

    def write(self, settings):
        whole = {
            "apiVersion": "postern/v1",
            "listeners": [{"name": "webhook", "address": f"127.0.0.1:{self.port}", "filters": ["inject"],
                           "tls": {"certificate": str(self.certificates.certificate), "key": str(self.certificates.key)}}],
            "admin": {"address": f"127.0.0.1:{self.admin}"},
            "drain": {"delay": "0s", "grace": "5s"},
            "filters": {"inject": settings},
            **self.config,
        }
        self.config_path.write_text(json.dumps(whole, indent=1))

    def admin_get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=wire.TIMEOUT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def serves(self):
        try:
            return self.admin_get("/readyz")[0] == 200
        except OSError:
            return False

    def context(self):
        return ssl.create_default_context(cafile=str(self.certificates.ca))

    def connect(self):
        return self.connect_with(self.context())

    def connect_with(self, context):
        return http.client.HTTPSConnection("localhost", self.port, timeout=wire.TIMEOUT, context=context)

    def post(self, path, body, headers=None):
        """One POST over the connection that all of them share; status and text."""
        if self.connection is None:
            self.connection = self.connect()
        self.connection.request("POST", f"{path}?timeout=10s", body, headers or {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def call(self, path, asked):
        """The response part of the AdmissionReview that answers."""
        status, text = self.post(path, json.dumps(asked).encode())
        assert status == 200, text
        return judged(asked, json.loads(text))

    def curl(self, path, body, *options):
        """By another client, for what Python's cannot: status, version of HTTP, text."""
        done = subprocess.run(["curl", "-sS", "--cacert", str(self.certificates.ca), "--data-binary", "@-", "-H", "Content-Type: application/json",
                               "-w", "\n%{http_code} %{http_version}", *options, f"https://localhost:{self.port}{path}?timeout=10s"],
                              input=body, capture_output=True, check=True, timeout=wire.TIMEOUT)
        text, _, last = done.stdout.decode().rpartition("\n")
        status, version = last.split()
        return int(status), version, text

    def stop(self):
        if self.connection:
            self.connection.close()
        super().stop()


def judged(asked, answer):
    assert (answer["kind"], answer["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    response = answer["response"]
    assert response["uid"] == asked["request"]["uid"]
    assert ("patch" in response) == ("patchType" in response)
    assert all(len(warning) <= 120 for warning in response.get("warnings", []))
    return response


def patch_of(response):
    """The operations, or an empty list."""
    if "patch" not in response:
        return []
    assert response["patchType"] == "JSONPatch"
    return json.loads(base64.b64decode(response["patch"], validate=True))
