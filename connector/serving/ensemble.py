"""A fused encoder on Triton: a model of heads, and over it one ensemble for each version, with the version's members.

An ensemble's steps, model versions among them, stand in its configuration, which all versions of a model share. So
version 3 of `item` is the ensemble `item__v3`; the heads are versions of the model `item`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from encoders.contract import EncoderContract
from encoders.fused import FusedPreprocessing

Members = Sequence[EncoderContract]
ENSEMBLE = re.compile(r".*__v[1-9][0-9]*")


def served_model(contract: EncoderContract) -> tuple[str, int]:
    """Name and version of the Triton model that a client asks."""
    if contract.modality == "fused":
        return f"{contract.name}__v{contract.version}", 1
    return contract.name, contract.version


def input_name(modality: str) -> str:
    """Input of the ensemble that takes a modality's raw content; a row of no bytes is absent."""
    return modality.upper()


def modalities_of(config: Any) -> tuple[str, ...]:
    """Modalities that an ensemble takes, by its configuration."""
    return tuple(each.name.lower() for each in config.input if each.name != "QUERY")


def vector_name(modality: str) -> str:
    """Input of the head that takes a member's vectors."""
    return f"{modality.upper()}_EMBEDDING"


def error_name(modality: str) -> str:
    """Input of the head that takes a member's reasons."""
    return f"{modality.upper()}_ERROR"


def check_name(modality: str) -> str:
    """Input of the head that takes a member's checks."""
    return f"{modality.upper()}_CHECK"


def is_checked(config: Any) -> bool:
    """Whether a model says of each row which one it answers; configurations of older versions do not."""
    return any(output.name == "CHECK" for output in config.output)


def members_of(record: Mapping[str, Any]) -> Members:
    """Members that a fused encoder's `encoder.json` names."""
    return FusedPreprocessing.from_dict(record.get("preprocessing", {})).members


# Outputs of a member, and what the head calls them.
PASSED = {"EMBEDDING": vector_name, "ERROR": error_name, "CHECK": check_name}


def head_inputs(versions: Sequence[Members]) -> list[Any]:
    """Inputs of the model of heads: a version may lack a member, or have one of another dimension."""
    from tritonclient.grpc import model_config_pb2 as pb

    modalities = dict.fromkeys(member.modality for members in versions for member in members)
    inputs = []
    for modality in modalities:
        having = [member for members in versions for member in members if member.modality == modality]
        dimensions = {member.dimension for member in having}
        optional = len(having) < len(versions)
        size = dimensions.pop() if len(dimensions) == 1 else -1
        inputs += [
            pb.ModelInput(name=vector_name(modality), data_type=pb.TYPE_FP32, dims=[size], optional=optional),
            pb.ModelInput(name=error_name(modality), data_type=pb.TYPE_STRING, dims=[1], optional=optional),
            pb.ModelInput(name=check_name(modality), data_type=pb.TYPE_UINT32, dims=[1], optional=optional),
        ]
    return inputs


def render_ensemble(contract: EncoderContract, members: Members, max_batch: int) -> str:
    """Text of the `config.pbtxt` of one version's ensemble."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    steps = [
        pb.ModelEnsembling.Step(
            model_name=member.name,
            model_version=member.version,
            input_map={"INPUT": input_name(member.modality), "QUERY": "QUERY"},
            output_map={name: named(member.modality) for name, named in PASSED.items()},
        )
        for member in members
    ]
    passed = [named(member.modality) for member in members for named in PASSED.values()]
    head = pb.ModelEnsembling.Step(
        model_name=contract.name,
        model_version=contract.version,
        input_map={name: name for name in passed},
        output_map={name: name for name in PASSED},
    )
    config = pb.ModelConfig(
        name=served_model(contract)[0],
        platform="ensemble",
        max_batch_size=max_batch,
        input=[
            *(pb.ModelInput(name=input_name(m.modality), data_type=pb.TYPE_STRING, dims=[1]) for m in members),
            pb.ModelInput(name="QUERY", data_type=pb.TYPE_BOOL, dims=[1], optional=True),
        ],
        output=[
            pb.ModelOutput(name="EMBEDDING", data_type=pb.TYPE_FP32, dims=[contract.dimension]),
            pb.ModelOutput(name="ERROR", data_type=pb.TYPE_STRING, dims=[1]),
            pb.ModelOutput(name="CHECK", data_type=pb.TYPE_UINT32, dims=[1]),
        ],
        ensemble_scheduling=pb.ModelEnsembling(step=[*steps, head]),
        parameters={
            "contract": pb.ModelParameter(string_value=contract.to_json()),
            "contract_hash": pb.ModelParameter(string_value=contract.hash),
        },
    )
    return str(text_format.MessageToString(config))
