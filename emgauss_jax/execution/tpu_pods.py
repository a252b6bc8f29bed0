"""TPU pods: hosts whose TPUs form one slice. Nobody has tried one, so commands refuse them.

Without `jax.distributed` the TPU runtime of one host waits for all others. A TPU host by itself
needs nothing of that kind.
"""

import http.client
import importlib.util
import urllib.request
from collections.abc import Mapping

from emgauss_jax.data.errors import InputError

METADATA = "computeMetadata/v1/instance/attributes/worker-network-endpoints"
ASKING_S = 3.0


def refuse_tpu_pods(environ: Mapping[str, str]) -> None:
    """Raise where this host's TPUs are part of a pod, before JAX uses any device.

    Args:
      environ: the environment, after JAX was imported.

    Raises:
      InputError: they are.
    """
    platforms = environ.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms:
        return
    hosts = _hosts(environ)
    slices = environ.get("MEGASCALE_NUM_SLICES", "1")
    if len(hosts) > 1 or slices not in ("", "1"):
        raise InputError(
            f"TPU: got a pod ({len(hosts)} hosts a slice, {slices} slices), wanted one TPU host, "
            "or several that form no slice: pods are not supported until someone has tried one"
        )


def _hosts(environ: Mapping[str, str]) -> list[str]:
    """List the hosts of this host's slice: GKE names them in the environment, GCE when asked."""
    for name in ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES"):  # the first is JAX's choice too
        if name in environ:
            return environ[name].split(",")
    # JAX sets TPU_SKIP_MDS_QUERY where it finds no chip.
    if "TPU_SKIP_MDS_QUERY" in environ or not importlib.util.find_spec("libtpu"):
        return []
    return ask_metadata(environ.get("GCE_METADATA_IP", "metadata.google.internal"))


def ask_metadata(server: str) -> list[str]:
    """Ask the metadata server of a cloud for the hosts of a slice; [] where it knows none."""
    asked = urllib.request.Request(
        f"http://{server}/{METADATA}", headers={"Metadata-Flavor": "Google"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this host
    try:
        with direct.open(asked, timeout=ASKING_S) as answer:
            return answer.read().decode().split(",")
    except (OSError, http.client.HTTPException):
        return []
