"""A DCOM client for the laboratory: `python -m tests.lab.dcom_client ADDRESS PORT` asks with impacket.

It asks for the server's bindings, activates WMI and, as DCOM clients do, connects to the address of a binding.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

from impacket.dcerpc.v5 import transport
from impacket.dcerpc.v5.dcom.wmi import CLSID_WbemLevel1Login, IID_IWbemLevel1Login
from impacket.dcerpc.v5.dcomrt import IID_IRemoteSCMActivator, IObjectExporter, IRemoteSCMActivator

_SECONDS = 3.0


def main(address: str, port: int) -> None:
    """Ask, and follow; print the bindings."""
    bindings = IObjectExporter(_connect(address, port)).ServerAlive2()
    found = [binding["aNetworkAddr"].rstrip("\0") for binding in bindings]
    dce = _connect(address, port)
    dce.connect()
    dce.bind(IID_IRemoteSCMActivator)
    # impacket would go on with the object, which nobody serves here.
    with contextlib.suppress(Exception):
        IRemoteSCMActivator(dce).RemoteCreateInstance(CLSID_WbemLevel1Login, IID_IWbemLevel1Login)
    dce.disconnect()
    with contextlib.suppress(OSError):
        socket.create_connection((found[1], 49155), timeout=_SECONDS).close()
    print("\n".join(found))


def _connect(address: str, port: int) -> Any:
    return transport.DCERPCTransportFactory(f"ncacn_ip_tcp:{address}[{port}]").get_dce_rpc()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
