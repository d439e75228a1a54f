"""Certificates: good ones, and those that are expired, of a stranger or of another host."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Name, host, authority, days from now to its end.
MADE = (
    ("server", "localhost", "ca", 365),
    ("elsewhere", "elsewhere.invalid", "ca", 365),
    ("expired", "localhost", "ca", -1),
    ("expiring", "localhost", "ca", 10),
    ("client", "anomalyd", "ca", 365),
    ("intruder", "anomalyd", "stranger", 365),
    ("former", "anomalyd", "ca", -1),
)
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make(folder: Path) -> None:
    """Fills a folder with the certificates and keys of `MADE`, and of the authorities ca and stranger."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "stranger"):
        files = ("-keyout", f"{authority}.key", "-out", f"{authority}.crt")
        openssl("req", "-x509", *KEY, *files, "-subj", f"/CN={authority}", "-days", "365")
    for name, host, authority, days in MADE:
        extensions = folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName = DNS:{host}\nbasicConstraints = critical,CA:FALSE\n")
        openssl("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", "-days", f"{days}",
            "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-extfile", extensions.name,
        )  # fmt: skip
