"""Keys and certificates of the lab's own, as docs/journal-transport.md makes them."""

import subprocess
from pathlib import Path

KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


class Authority:
    """A certificate authority in the directory ``place``: ca.pem there is what is trusted."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._openssl(
            f"req -x509 {KEY} -days 3650 -subj /CN=mail.example -keyout ca.key -out ca.pem"
        )

    @property
    def trusted(self) -> Path:
        """The authority's own certificate, for those who trust it."""
        return self._place / "ca.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        """Make a key and a certificate for the host NAME; return where they are."""
        self._openssl(
            f"req {KEY} -subj /CN={name} -addext subjectAltName=DNS:{name} "
            f"-keyout {name}.key -out {name}.csr"
        )
        self._openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 "
            f"-copy_extensions copy -out {name}.pem"
        )
        return self._place / f"{name}.key", self._place / f"{name}.pem"

    def _openssl(self, arguments: str) -> None:
        command = ["openssl", *arguments.split()]
        subprocess.run(command, cwd=self._place, check=True, capture_output=True)
