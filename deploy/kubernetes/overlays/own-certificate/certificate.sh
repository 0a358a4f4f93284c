#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# certificate.sh [DAYS]: makes tls.crt, tls.key and ca.crt for the injector's Service, in this folder. Run again, it keeps the newest CA
# of the last time in ca.crt beside the new one: apply, wait for the rollout of the Secret (a minute or two), and no call was refused.
# The CA's key is not kept.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
days=${1:-730}
service=postern-injector.postern-system
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days "$days" -subj "/CN=postern-injector CA $(date +%F)" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -subj "/CN=$service.svc" -keyout "$work/tls.key" -out "$work/request" 2>/dev/null
openssl x509 -req -in "$work/request" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days "$days" -out "$work/tls.crt" 2>/dev/null \
    -extfile <(printf 'subjectAltName=DNS:%s.svc,DNS:%s,DNS:%s.svc.cluster.local\nextendedKeyUsage=serverAuth\n' $service $service $service)
if [ -f ca.crt ]; then
    sed -n '1,/END CERTIFICATE/p' ca.crt >>"$work/ca.crt"
fi
mv "$work/tls.crt" "$work/tls.key" "$work/ca.crt" .
