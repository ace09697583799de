"""A certificate that expires: its node does not start any more, as no other would accept its connections.

Members pin each other's certificate byte for byte, in the genesis, and OpenSSL looks at its dates as well. So the
certificate of one node is replaced before the cluster first runs by one that ends soon.
"""

from __future__ import annotations

import datetime as dt
import shutil
import time

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from govraft.adapters.sqlite_store import create_store
from govraft.testing.chaos.nemesis import Hit, Nemesis, UnavailableFaultError, names
from govraft.testing.local_cluster import ClusterError, ClusterTimeoutError, LocalCluster, LocalNode
from govraft.testing.local_cluster_commands import CommandOffice

__all__ = ["CertificateExpired", "shorten_certificate"]

_LASTS_S = 12
_EXIT_UNUSABLE = 2
_REFUSES_WITHIN_S = 15.0
_ALL = 1 << 24
_ENDS: dict[str, float] = {}


def shorten_certificate(cluster: LocalCluster, node: LocalNode, lasts_s: int = _LASTS_S) -> None:
    """Let the certificate of a node of a cluster that never ran end in `lasts_s` seconds.

    Raises:
        ClusterError: It ran already: genesis is fixed.
    """
    if any(item.lives for item in cluster.nodes.values()):
        raise ClusterError("the certificates of a cluster that ran cannot be exchanged")
    key = load_pem_private_key((node.home / f"{node.id}.key.pem").read_bytes(), None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node.id)])
    end = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=lasts_s)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    certificate = builder.sign(key, algorithm=None)  # type: ignore[arg-type]
    (node.home / f"{node.id}.cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    der = certificate.public_bytes(serialization.Encoding.DER)
    members = tuple(
        msgspec.structs.replace(member, certificate=der) if member.id == node.id else member
        for member in cluster.genesis.members
    )
    cluster.genesis = msgspec.structs.replace(cluster.genesis, members=members)
    (cluster.home / "genesis.json").write_bytes(cluster.genesis.encode())
    for item in cluster.nodes.values():
        # The stores are bound to the genesis that is no more.
        shutil.rmtree(item.database.parent)
        item.database.parent.mkdir(mode=0o700)
        create_store(item.database, cluster_id=cluster.genesis.cluster_id, node_id=item.id, late=False)
    cluster.commands = CommandOffice(cluster.genesis, cluster.home / "keys")
    _ENDS[node.id] = end.timestamp()


class CertificateExpired(Nemesis):
    """The certificate of a node has ended; it is restarted, and must refuse to run and name the certificate.

    There is no way back but a new genesis, so the node stays down afterwards.
    """

    kind, explanation = "certificate-expired", "a node whose certificate has expired is started"
    group = "cluster"
    needs = frozenset({"short-certificate"})
    hold_ms = (5000, 6000)

    def start(self) -> Hit:
        ends = {node: _ENDS[node.id] for node in self.cluster.nodes.values() if node.id in _ENDS}
        ready = [node for node, end in ends.items() if node.is_running]
        if not ready:
            raise UnavailableFaultError("no node has a certificate that expires")
        node = ready[0]
        # At most the few seconds that the certificate lasts.
        time.sleep(max(0.0, ends[node] + 1 - time.time()))
        self.taken = [node]
        before = len(node.log(_ALL))
        node.kill()
        node.start()
        try:
            code = node.process.wait(_REFUSES_WITHIN_S)
        except ClusterTimeoutError:
            self.findings.append(f"{self.kind}: {node.id} runs with an expired certificate")
        else:
            said = node.log(_ALL)[before:]
            if code != _EXIT_UNUSABLE or "has expired" not in said:
                self.findings.append(f"{self.kind}: {node.id} ended with {code}, and said: {said[-400:]}")
        return Hit(names([node]), "restarted after the certificate's end")
