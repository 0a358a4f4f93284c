# SPDX-License-Identifier: Apache-2.0
"""Short-lived certificates, made by openssl for one test run."""
import collections
import subprocess

Files = collections.namedtuple("Files", "ca certificate key")
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make(folder, names="DNS:localhost,IP:127.0.0.1"):
    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    certificate, key, wish = folder / "tls.crt", folder / "tls.key", folder / "tls.csr"
    openssl("req", "-x509", *CURVE, "-days", 2, "-subj", "/CN=test authority", "-keyout", ca_key, "-out", ca)
    openssl("req", *CURVE, "-subj", "/CN=localhost", "-addext", f"subjectAltName={names}", "-keyout", key, "-out", wish)
    openssl("x509", "-req", "-in", wish, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 2, "-copy_extensions", "copy",
            "-out", certificate)
    return Files(ca, certificate, key)
