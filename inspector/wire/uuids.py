"""Well-known RPC interfaces: UUID, name, and the public protocol document which defines it.

The names are those an operator knows (MAPI, NSPI, NETLOGON) where there is such a
name, otherwise the interface's own. They label a metric, so the set is closed.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

_TABLE: Final = """
e1af8308-5d1f-11c9-91a4-08002b14a0fa EPM C706
afa8bd80-7d8a-11c9-bef4-08002b102989 MGMT C706
a4f1db00-ca47-1067-b31f-00dd010662da MAPI MS-OXCRPC
5261574a-4572-206e-b268-6b199213b4e4 AsyncEMSMDB MS-OXCRPC
f5cc5a18-4264-101a-8c59-08002b2f8426 NSPI MS-OXNSPI
1544f5e0-613c-11d1-93df-00c04fd7bd09 RFR MS-OXABREF
12345678-1234-abcd-ef00-01234567cffb NETLOGON MS-NRPC
12345778-1234-abcd-ef00-0123456789ab LSARPC MS-LSAD
12345778-1234-abcd-ef00-0123456789ac SAMR MS-SAMR
e3514235-4b06-11d1-ab04-00c04fc2dcd2 DRSUAPI MS-DRSR
7c44d7d4-31d5-424c-bd5e-2b3e1f323d22 DSAOP MS-DRSR
3919286a-b10c-11d0-9ba8-00c04fd92ef5 DSSETUP MS-DSSP
c681d488-d850-11d0-8c52-00c04fd90f7e EFSRPC MS-EFSR
df1941c5-fe89-4e79-bf10-463657acf44d EFSRPC MS-EFSR
4fc742e0-4a10-11cf-8273-00aa004ae673 NETDFS MS-DFSNM
897e2e5f-93f3-4376-9c9c-fd2277495c27 DFSR MS-FRS2
f5cc59b4-4264-101a-8c59-08002b2f8426 FRS MS-FRS1
d049b186-814f-11d1-9a3c-00c04fc9b232 NtFrsApi MS-FRS1
50abc2a4-574d-40b3-9d66-ee4fd5fba076 DNSSERVER MS-DNSP
6bffd098-a112-3610-9833-46c3f87e345a WKSSVC MS-WKST
4b324fc8-1670-01d3-1278-5a47bf6ee188 SRVSVC MS-SRVS
6bffd098-a112-3610-9833-012892020162 BROWSER MS-BRWSA
367abb81-9844-35f1-ad32-98f038001003 SVCCTL MS-SCMR
338cd001-2244-31f1-aaaa-900038001003 WINREG MS-RRP
82273fdc-e32a-18c3-3f78-827929dc23ea EVENTLOG MS-EVEN
f6beaff7-1e19-4fbb-9f8f-b89e2018337c EVENTLOG6 MS-EVEN6
1ff70682-0a51-30e8-076d-740be8cee98b ATSVC MS-TSCH
378e52b0-c0a9-11cf-822d-00aa0051e40f SASEC MS-TSCH
86d35949-83c9-4044-b424-db363231fd0c ITaskSchedulerService MS-TSCH
12345678-1234-abcd-ef00-0123456789ab SPOOLSS MS-RPRN
76f03f96-cdfd-44fc-a22c-64950a001209 IRemoteWinspool MS-PAR
ae33069b-a2a8-46ee-a235-ddfd339be281 IRPCRemoteObject MS-PAN
0b6edbfa-4a24-4fc6-8a23-942b1eca65d1 IRPCAsyncNotify MS-PAN
91ae6020-9e3c-11cf-8d7c-00aa00c091be ICertPassage MS-ICPR
d99e6e70-fc88-11d0-b498-00a0c90312f3 ICertRequestD MS-WCCE
5422fd3a-d4b8-4cef-a12e-e87d4ca22e90 ICertRequestD2 MS-WCCE
d99e6e71-fc88-11d0-b498-00a0c90312f3 ICertAdminD MS-CSRA
7fe0d935-dda6-443f-85d0-1cfb58fe41dd ICertAdminD2 MS-CSRA
3dde7c30-165d-11d1-ab8f-00805f14db40 BackupKey MS-BKRP
b9785960-524f-11df-8b6d-83dcded72085 ISDKey MS-GKDI
484809d6-4239-471b-b5bc-61df8c23ac48 TermSrvSession MS-TSTS
88143fd0-c28d-4b2b-8fef-8d882f6a9390 TermSrvEnumeration MS-TSTS
bde95fdf-eec0-45de-9e12-e5a61cd0d4fe RCMPublic MS-TSTS
bde95fdf-eee0-45de-9e12-e5a61cd0d4fe RCMPublic MS-TSTS
11899a43-2b68-4a76-92e3-a3d6ad8c26ce TermSrvNotification MS-TSTS
5ca4a760-ebb1-11cf-8611-00a0245420ed LegacyApi MS-TSTS
ea0a3165-4834-11d2-a6f8-00c04fa346cc FAX MS-FAX
6099fc12-3eff-11d0-abd0-00c04fd91a4e FAXCLIENT MS-FAX
2f5f6521-ca47-1068-b319-00dd010662db REMOTESP MS-TRP
e3d0d746-d2af-40fd-8a7a-0d7078bb7092 BitsPeerAuth MS-BPAU
497d95a6-2d27-4bf5-9bbd-a6046957133c RCMListener MS-TSTS
53b46b02-c73b-4a3e-8dee-b16b80672fc0 TSVIPPublic MS-TSTS
1257b580-ce2f-4109-82d6-a9459d0bf6bc SessEnvPublicRpc MS-TSTS
44e265dd-7daf-42cd-8560-3cdb6e7a2729 TsProxyRpcInterface MS-TSGU
2f5f6520-ca46-1067-b319-00dd010662da TAPSRV MS-TRP
300f3532-38cc-11d0-a3f0-0020af6b0add TRKWKS MS-DLTW
4da1c422-943d-11d1-acae-00c04fc2aa3f TRKSVR MS-DLTM
45f52c28-7f9f-101a-b52b-08002b2efabe WINSIF MS-RAIW
811109bf-a4e1-11d1-ab54-00a0c91e9b45 WINSI2 MS-RAIW
6bffd098-a112-3610-9833-46c3f874532d DHCPSRV MS-DHCPM
5b821720-f63b-11d0-aad2-00c04fc324db DHCPSRV2 MS-DHCPM
8f09f000-b7ed-11ce-bbd2-00001a181cad DIMSVC MS-RRASM
fdb3a030-065f-11d1-bb9b-00a024ea5525 QMCOMM MS-MQMP
76d12b80-3467-11d3-91ff-0090272f9ea3 QMCOMM2 MS-MQMP
1088a980-eae5-11d0-8d9b-00a02453c337 QM2QM MS-MQQP
41208ee0-e970-11d1-9b9e-00e02c064c39 QMMGMT MS-MQMR
77df7a80-f298-11d0-8358-00a024c480a8 DSCOMM MS-MQDS
708cca10-9569-11d1-b2a5-0060977d8118 DSCOMM2 MS-MQDS
1a9134dd-7b39-45ba-ad88-44d01ca47f28 RemoteRead MS-MQRR
99fcfec4-5260-101b-bbcb-00aa0021347a IObjectExporter MS-DCOM
000001a0-0000-0000-c000-000000000046 IRemoteSCMActivator MS-DCOM
4d9f4ab8-7d1c-11cf-861e-0020af6e7c57 IActivation MS-DCOM
00000131-0000-0000-c000-000000000046 IRemUnknown MS-DCOM
00000143-0000-0000-c000-000000000046 IRemUnknown2 MS-DCOM
9556dc99-828c-11cf-a37e-00aa003240c7 IWbemServices MS-WMI
f309ad18-d86a-11d0-a075-00c04fb68820 IWbemLevel1Login MS-WMI
d4781cd6-e5d3-44df-ad94-930efe48a887 IWbemLoginClientID MS-WMI
027947e1-d731-11ce-a357-000000000001 IEnumWbemClassObject MS-WMI
b97db8b2-4c63-11cf-bff6-08002be23f2f CLUSAPI MS-CMRP
a8e0653c-2744-4389-a61d-7373df8b2292 FSRVP MS-FSRVP
ccd8c074-d0e5-4a40-92b4-d074faa6ba28 WITNESS MS-SWN
8fb6d884-2388-11d0-8c35-00c04fda2795 W32TIME MS-W32T
894de0c0-0d55-11d3-a322-00c04fa321a1 InitShutdown MS-RSP
d95afe70-a6d5-4259-822e-2c84da1ddb0d WindowsShutdown MS-RSP
833e4200-aff7-4ac3-aac2-9f24c1457bce PCHSERVICE MS-RAI
906b0ce0-c70b-1067-b317-00dd010662da IXnRemote MS-CMPO
6b5bdd1e-528c-422c-af8c-a4079be4fe48 RemoteFW MS-FASP
1a927394-352e-4553-ae3f-7cf4aafca620 WdsRpcInterface MS-WDSC
d2d79df5-3400-11d0-b40b-00aa005ff586 IVolumeClient MS-DMRP
82ad4280-036b-11cf-972c-00aa006887b0 INETINFO MS-IRP
70b51430-b6ca-11d0-b9b9-00a0c922e750 IMSAdminBaseW MS-IMSA
da5a86c5-12c2-4943-ab30-7f74a813d853 PerflibV2 MS-PCQ
22e5386d-8b12-4bf0-b0ec-6a1ea419e366 NetEventForwarder MS-LREC
0b1c2170-5732-4e0e-8cd3-d9b16f3b84d7 AUTHZR MS-RAA
afc07e2e-311c-4435-808c-c483ffeec7c9 LSACAP MS-CAPR
e33c0cc4-0482-101a-bc0c-02608c6ba218 LocToLoc MS-RPCL
17fdd703-1827-4e34-79d4-24a55c53bb37 MSGSVC MS-MSRP
5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc MSGSVCSEND MS-MSRP
"""

_NAMES: Final[dict[UUID, tuple[str, str]]] = {
    UUID(uuid): (name, document) for uuid, name, document in (line.split() for line in _TABLE.split("\n") if line)
}


def name_of(uuid: UUID) -> str | None:
    """Return the interface's name, or None when it is not in the table."""
    entry = _NAMES.get(uuid)
    return entry[0] if entry else None


# Classes that activations ask for: CLSID and the name of what it belongs to.
_CLASSES: Final = """
8bc3f05e-d86b-11d0-a075-00c04fb68820 WMI
c49e32c6-bc8b-11d2-85d4-00105a1f8304 WMI-backup
7d1933cb-86f6-4a98-8628-01be94c9a575 VDS
0b5a2c52-3eb9-470a-96e2-6c6d4570e40f shadow-copy-provider
4e14fba2-2e22-11d1-9964-00c04fbbb345 COM+-events
49b2791a-b1ae-4c90-9b8e-e860ba07f889 MMC
9ba05972-f6a8-11cf-a442-00a0c90a8f39 ShellWindows
c08afd90-f2a1-11d1-8455-00a0c91f3880 ShellBrowserWindow
d99e6e74-fc88-11d0-b498-00a0c90312f3 certificate-services
13486d51-4821-11d2-a494-3cb306c10000 OPC-server-list
"""
_CLASS_NAMES: Final[dict[UUID, str]] = {
    UUID(uuid): name.replace("-", " ") for uuid, name in (line.split() for line in _CLASSES.split("\n") if line)
}


def class_name_of(uuid: UUID) -> str | None:
    """Return what a COM class belongs to, or None when it is not in the table."""
    return _CLASS_NAMES.get(uuid)


def uuid_of(name: str) -> UUID | None:
    """Return the first interface of a name, in any letters; None when it is not in the table."""
    wanted = name.lower()
    return next((uuid for uuid, (known, _) in _NAMES.items() if known.lower() == wanted), None)


def document_of(uuid: UUID) -> str | None:
    """Return the public document that defines the interface, or None when it is not in the table."""
    entry = _NAMES.get(uuid)
    return entry[1] if entry else None


def all_uuids() -> frozenset[UUID]:
    """Return the UUIDs of the table."""
    return frozenset(_NAMES)
