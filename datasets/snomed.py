"""SNOMED CT codes as the PhysioNet Challenges and their sources use them, and the classes they make.

The scored classes and their merged pairs are those of the Challenges' own scorers
(physionetchallenges/evaluation-2020 and -2021, `dx_mapping_scored.csv`).
"""

from __future__ import annotations

SCORED_2021: dict[str, list[str]] = {
    "AF": ["164889003"],
    "AFL": ["164890007"],
    "BBB": ["6374002"],
    "Brady": ["426627000"],
    "CLBBB|LBBB": ["733534002", "164909002"],
    "CRBBB|RBBB": ["713427006", "59118001"],
    "IAVB": ["270492004"],
    "IRBBB": ["713426002"],
    "LAD": ["39732003"],
    "LAnFB": ["445118002"],
    "LPR": ["164947007"],
    "LQRSV": ["251146004"],
    "LQT": ["111975006"],
    "NSIVCB": ["698252002"],
    "NSR": ["426783006"],
    "PAC|SVPB": ["284470004", "63593006"],
    "PR": ["10370003"],
    "PRWP": ["365413008"],
    "PVC|VPB": ["427172004", "17338001"],
    "QAb": ["164917005"],
    "RAD": ["47665007"],
    "SA": ["427393009"],
    "SB": ["426177001"],
    "STach": ["427084000"],
    "TAb": ["164934002"],
    "TInv": ["59931005"],
}
"""The 26 classes of 2021, by the scorer's abbreviations; a pair is scored as one diagnosis."""

_LATER = ("BBB", "CLBBB|LBBB", "PRWP")
SCORED_2020: dict[str, list[str]] = {
    name: codes for name, codes in SCORED_2021.items() if name not in _LATER
} | {"LBBB": ["164909002"]}
"""The 24 classes of 2020: without the three codes that 2021 added, one of them to LBBB."""

CPSC_NINE = {
    "426783006": "Normal",
    "164889003": "AF",
    "270492004": "I-AVB",
    "164909002": "LBBB",
    "59118001": "RBBB",
    "284470004": "PAC",
    "164884008": "PVC",
    "429622005": "STD",
    "164931005": "STE",
}
"""The code of the Challenges' copy of CPSC2018 → its class. The last three are scored nowhere."""

CHAPMAN_RHYTHMS: dict[str, list[str]] = {
    "SB": ["426177001"],
    "SR": ["426783006"],
    "AFIB": ["164889003"],
    "ST": ["427084000"],
    "AF": ["164890007"],
    "SA": ["427393009"],
    "SVT": ["426761007"],
    "AT": ["713422000"],
    "AVNRT": ["233896004", "251166008"],
    "AVRT": ["233897008"],
    "SAAWR": ["195101003", "17366009"],
}
"""Chapman-Shaoxing's eleven rhythms (Zheng et al., 2020) → their codes.

AF is flutter here, AFIB fibrillation. The first code is that of `ConditionNames_SNOMED-CT.csv` in
PhysioNet's `ecg-arrhythmia`, the second what the Challenge wrote for AVNRT and SAAWR instead.
"""

CHAPMAN_GROUPS: dict[str, list[str]] = {
    "AFIB": ["AFIB", "AF"],
    "GSVT": ["SVT", "AT", "SAAWR", "ST", "AVNRT", "AVRT"],
    "SB": ["SB"],
    "SR": ["SR", "SA"],
}
"""The four groups into which its authors merge the rhythms."""

CHAPMAN_CONDITIONS: dict[str, list[str]] = {
    "1AVB": ["270492004"],
    "2AVB": ["195042002"],
    "2AVB1": ["54016002"],
    "2AVB2": ["28189009"],
    "3AVB": ["27885002"],
    "ABI": ["251173003"],
    "ALS": ["39732003"],
    "APB": ["284470004", "63593006"],
    "AQW": ["164917005"],
    "ARS": ["47665007"],
    "AVB": ["233917008"],
    "CCR": ["251199005"],
    "CR": ["251198002"],
    "ERV": ["428417006"],
    "FQRS": ["164942001"],
    "IVB": ["IDC", "698252002"],
    "JEB": ["426995002"],
    "JPS": [],
    "JPT": ["251164006"],
    "LBBB": ["LBBBB", "LFBBB", "164909002", "733534002"],
    "LRRI": [],
    "LVH": ["164873001"],
    "LVHV": ["55827005"],
    "LVQRSAL": ["251146004"],
    "LVQRSCL": ["251148003"],
    "LVQRSLL": ["251147008"],
    "MI": ["MIBW", "MIFW", "MILW", "MISW", "164865005"],
    "PRIE": ["164947007"],
    "PWC": ["164912004"],
    "QTIE": ["111975006"],
    "RAH": ["446358003"],
    "RAHV": ["67751000119106"],
    "RBBB": ["59118001", "713427006"],
    "RVH": ["89792004"],
    "STDD": ["429622005"],
    "STE": ["164930006"],
    "STTC": ["428750005"],
    "STTU": ["164931005"],
    "TWC": ["164934002"],
    "TWO": ["59931005"],
    "UW": ["164937009"],
    "VB": ["11157007"],
    "VEB": ["75532003"],
    "VET": ["251180001"],
    "VFW": ["13640000"],
    "VPB": ["17338001", "427172004"],
    "VPE": ["195060002"],
    "WAVN": [],
    "WPW": ["74390002"],
}
"""Condition of Chapman-Shaoxing → the others and the codes that mean the same.

Codes are those of the same table, for the two high voltages (LVHV, RAHV) and the Challenge's merged
pairs those of its own; several conditions share one code there, so they are one class here. WAVN has
none, because its code in the table is that of the rhythm SAAWR; JPS and LRRI have none at all.
"""
