"""The 71 SCP-ECG statements of PTB-XL, so that a synthetic tree has the same label sets as a real
one.

Codes, kinds and classes are those of `scp_statements.csv` in PTB-XL 1.0.3 (Wagner et al.,
Scientific Data 7 (2020), 154): 44 diagnostic, 19 form and 12 rhythm statements, 5 classes, 23
subclasses.
"""

from __future__ import annotations

# code|kinds (diagnostic, form, rhythm)|class|subclass|description
STATEMENTS: tuple[tuple[str, ...], ...] = tuple(
    tuple(line.split("|"))
    for line in """
NDT|df|STTC|STTC|non-diagnostic T abnormalities
NST_|df|STTC|NST_|non-specific ST changes
DIG|df|STTC|STTC|digitalis effect
LNGQT|df|STTC|STTC|long QT interval
NORM|d|NORM|NORM|normal ECG
IMI|d|MI|IMI|inferior myocardial infarction
ASMI|d|MI|AMI|anteroseptal myocardial infarction
LVH|d|HYP|LVH|left ventricular hypertrophy
LAFB|d|CD|LAFB/LPFB|left anterior fascicular block
ISC_|d|STTC|ISC_|non-specific ischaemia
IRBBB|d|CD|IRBBB|incomplete right bundle branch block
1AVB|d|CD|_AVB|first degree AV block
IVCD|d|CD|IVCD|non-specific intraventricular conduction disturbance
ISCAL|d|STTC|ISCA|ischaemia, anterolateral leads
CRBBB|d|CD|CRBBB|complete right bundle branch block
CLBBB|d|CD|CLBBB|complete left bundle branch block
ILMI|d|MI|IMI|inferolateral myocardial infarction
LAO/LAE|d|HYP|LAO/LAE|left atrial overload/enlargement
AMI|d|MI|AMI|anterior myocardial infarction
ALMI|d|MI|AMI|anterolateral myocardial infarction
ISCIN|d|STTC|ISCI|ischaemia, inferior leads
INJAS|d|MI|AMI|subendocardial injury in anteroseptal leads
LMI|d|MI|LMI|lateral myocardial infarction
ISCIL|d|STTC|ISCI|ischaemia, inferolateral leads
LPFB|d|CD|LAFB/LPFB|left posterior fascicular block
ISCAS|d|STTC|ISCA|ischaemia, anteroseptal leads
INJAL|d|MI|AMI|subendocardial injury in anterolateral leads
ISCLA|d|STTC|ISCA|ischaemia, lateral leads
RVH|d|HYP|RVH|right ventricular hypertrophy
ANEUR|d|STTC|STTC|ST-T changes of a ventricular aneurysm
RAO/RAE|d|HYP|RAO/RAE|right atrial overload/enlargement
EL|d|STTC|STTC|electrolyte disturbance or drug effect
WPW|d|CD|WPW|Wolf-Parkinson-White syndrome
ILBBB|d|CD|ILBBB|incomplete left bundle branch block
IPLMI|d|MI|IMI|inferoposterolateral myocardial infarction
ISCAN|d|STTC|ISCA|ischaemia, anterior leads
IPMI|d|MI|IMI|inferoposterior myocardial infarction
SEHYP|d|HYP|SEHYP|septal hypertrophy
INJIN|d|MI|IMI|subendocardial injury in inferior leads
INJLA|d|MI|AMI|subendocardial injury in lateral leads
PMI|d|MI|PMI|posterior myocardial infarction
3AVB|d|CD|_AVB|third degree AV block
INJIL|d|MI|IMI|subendocardial injury in inferolateral leads
2AVB|d|CD|_AVB|second degree AV block
ABQRS|f|||abnormal QRS
PVC|f|||ventricular premature complex
STD_|f|||non-specific ST depression
VCLVH|f|||voltage criteria for left ventricular hypertrophy
QWAVE|f|||Q waves present
LOWT|f|||low amplitude T-waves
NT_|f|||non-specific T-wave changes
PAC|f|||atrial premature complex
LPR|f|||prolonged PR interval
INVT|f|||inverted T-waves
LVOLT|f|||low QRS voltages
HVOLT|f|||high QRS voltage
TAB_|f|||T-wave abnormality
STE_|f|||non-specific ST elevation
PRC(S)|f|||premature complexes
SR|r|||sinus rhythm
AFIB|r|||atrial fibrillation
STACH|r|||sinus tachycardia
SARRH|r|||sinus arrhythmia
SBRAD|r|||sinus bradycardia
PACE|r|||functioning pacemaker
SVARR|r|||supraventricular arrhythmia
BIGU|r|||bigeminal pattern
AFLT|r|||atrial flutter
SVTAC|r|||supraventricular tachycardia
PSVT|r|||paroxysmal supraventricular tachycardia
TRIGU|r|||trigeminal pattern
""".strip().splitlines()
)
"""(code, kinds, diagnostic class, diagnostic subclass, description), in the file's order."""

HEADER = (
    "",
    "description",
    "diagnostic",
    "form",
    "rhythm",
    "diagnostic_class",
    "diagnostic_subclass",
    "Statement Category",
    "SCP-ECG Statement Description",
    "AHA code",
    "aECG REFID",
    "CDISC Code",
    "DICOM Code",
)


def statement_rows() -> list[tuple[str, ...]]:
    """The rows of `scp_statements.csv`, header first; columns of other vocabularies stay empty."""
    rows: list[tuple[str, ...]] = [HEADER]
    for code, kinds, main, sub, description in STATEMENTS:
        flags = tuple("1.0" if kind in kinds else "" for kind in "dfr")
        rows.append((code, description, *flags, main, sub, *("",) * 6))
    return rows
