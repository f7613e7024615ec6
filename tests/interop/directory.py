"""A directory server of our own: OpenLDAP's slapd with a few entries, on free ports, in a folder of the test's."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.programs import free_port, wait_until_open

BASE = "dc=example,dc=org"
ADMIN = f"cn=admin,{BASE}"
ADMIN_PASSWORD = "admin secret"

_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw "{password}"
directory {folder}/db
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""

# Ann, whose name is plain; Bob, whose name a filter has to escape; and a list with two members.
_ENTRIES = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: uid=ann,ou=people,{BASE}
objectClass: inetOrgPerson
uid: ann
cn: Ann
sn: Ann
mail: ann@example.org
userPassword: ann's secret

dn: uid=b*b (x),ou=people,{BASE}
objectClass: inetOrgPerson
uid: b*b (x)
cn: Bob
sn: Bob
mail: bob@example.org
userPassword: bob's secret

dn: uid=list,ou=people,{BASE}
objectClass: inetOrgPerson
uid: list
cn: List
sn: List
mail: one@example.org
mail: two@example.org
"""


@dataclass
class Slapd:
    """A running one. `authority` is the file of the CA that signed its certificate, for 127.0.0.1."""

    folder: Path
    port: int
    tls_port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://127.0.0.1:{self.tls_port}"

    @property
    def authority(self) -> str:
        return str(self.folder / "ca.pem")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)

    def start(self) -> None:
        """Again, with the same entries and ports."""
        self.process = _run(self.folder, self.port, self.tls_port)


def start(folder: Path) -> Slapd:
    """In an empty folder."""
    (folder / "db").mkdir(parents=True)
    given = {"folder": folder, "base": BASE, "admin": ADMIN, "password": ADMIN_PASSWORD}
    (folder / "slapd.conf").write_text(_CONFIGURATION.format(**given))
    (folder / "entries.ldif").write_text(_ENTRIES)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", common_name="127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    configuration, entries = str(folder / "slapd.conf"), str(folder / "entries.ldif")
    subprocess.run([_path("slapadd"), "-f", configuration, "-l", entries], check=True, capture_output=True)
    port, tls_port = free_port(), free_port()
    return Slapd(folder, port, tls_port, _run(folder, port, tls_port))


def _run(folder: Path, port: int, tls_port: int) -> subprocess.Popen[bytes]:
    urls = f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"
    command = [_path("slapd"), "-f", str(folder / "slapd.conf"), "-h", urls, "-d", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_open(process, tls_port)
    return process


def _path(name: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert path is not None
    return path
