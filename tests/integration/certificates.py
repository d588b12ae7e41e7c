"""A private certificate authority and the certificates of the tests, made with openssl."""

import ssl
import subprocess


def _openssl(*args, directory):
    subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)


class Authority:
    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-sha256", "-days", "30", "-subj", "/CN=test authority",
                 "-keyout", "ca.key", "-out", "ca.pem", directory=directory)
        self.ca = directory / "ca.pem"

    def issue(self, file, name, addresses="DNS:localhost,IP:127.0.0.1,IP:::1"):
        """Make <file>.pem and <file>.key for this common name; returns both paths."""
        extension = self.directory / f"{file}.ext"
        extension.write_text(f"subjectAltName={addresses}\n" if addresses else "")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-sha256", "-subj", f"/CN={name}", "-keyout", f"{file}.key",
                 "-out", f"{file}.csr", directory=self.directory)
        _openssl("x509", "-req", "-in", f"{file}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                 "-CAcreateserial", "-sha256", "-days", "30", "-extfile", f"{file}.ext",
                 "-out", f"{file}.pem", directory=self.directory)
        (self.directory / f"{file}.key").chmod(0o600)
        return self.directory / f"{file}.pem", self.directory / f"{file}.key"


def client_context(ca=None, certificate=None, alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    if certificate:
        context.load_cert_chain(*certificate)
    if alpn:
        context.set_alpn_protocols([alpn] if isinstance(alpn, str) else alpn)
    return context
