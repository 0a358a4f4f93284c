#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# sbom.sh BINARY PACKAGE...: an SPDX 2.3 document in JSON on standard output, from dpkg's data about the Debian packages whose files
# are in the image. Environment: REVISION, SOURCE_DATE_EPOCH. Source: https://spdx.github.io/spdx-spec/v2.3/
set -eu

binary=$1
shift
version=$("$binary" version | awk '{print $NF; exit}')
created=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
architecture=$(dpkg --print-architecture)
distribution=$(. /etc/os-release && printf '%s-%s' "$ID" "$VERSION_ID")

# A text as the inside of a JSON string; a version as part of a package URL.
json() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }
url() { printf '%s' "$1" | sed 's/%/%25/g; s/+/%2B/g; s/:/%3A/g; s/~/%7E/g'; }

cat <<DOCUMENT
{
 "spdxVersion": "SPDX-2.3",
 "dataLicense": "CC0-1.0",
 "SPDXID": "SPDXRef-DOCUMENT",
 "name": "postern-$version-$architecture",
 "documentNamespace": "https://spdx.org/spdxdocs/postern-$version-$architecture-$REVISION",
 "creationInfo": {"created": "$created", "creators": ["Tool: postern-sbom-1"]},
 "packages": [
  {
   "SPDXID": "SPDXRef-postern",
   "name": "postern",
   "versionInfo": "$version",
   "supplier": "NOASSERTION",
   "downloadLocation": "NOASSERTION",
   "sourceInfo": "commit $REVISION",
   "filesAnalyzed": false,
   "checksums": [{"algorithm": "SHA256", "checksumValue": "$(sha256sum "$binary" | cut -d' ' -f1)"}],
   "licenseConcluded": "Apache-2.0",
   "licenseDeclared": "Apache-2.0",
   "copyrightText": "NOASSERTION",
   "primaryPackagePurpose": "APPLICATION"
  }$(for package in "$@"; do
    show() { dpkg-query -W -f "$1" "$package"; }
    number=$(show '${Version}')
    cat <<PACKAGE
,
  {
   "SPDXID": "SPDXRef-$(printf '%s' "$package" | tr '+_' '--')",
   "name": "$package",
   "versionInfo": "$(json "$number")",
   "supplier": "Organization: Debian",
   "downloadLocation": "NOASSERTION",
   "sourceInfo": "built from Debian source package $(json "$(show '${source:Package} ${source:Version}')")",
   "filesAnalyzed": false,
   "licenseConcluded": "NOASSERTION",
   "licenseDeclared": "NOASSERTION",
   "licenseComments": "/usr/share/doc/$package/copyright in the image",
   "copyrightText": "NOASSERTION",
   "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
     "referenceLocator": "pkg:deb/debian/$(url "$package")@$(url "$number")?arch=$(show '${Architecture}')&distro=$distribution"}]
  }
PACKAGE
done)
 ],
 "relationships": [
  {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-postern"}$(for package in "$@"; do
    printf ',\n  {"spdxElementId": "SPDXRef-postern", "relationshipType": "DEPENDS_ON", "relatedSpdxElement": "SPDXRef-%s"}' \
        "$(printf '%s' "$package" | tr '+_' '--')"
done)
 ]
}
DOCUMENT
