"""`config.pbtxt` from contracts, and contracts from a model's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.errors import ConfigurationError
from connector.serving.ensemble import Members, head_inputs
from connector.serving.warmup import WARMUP_FILE, has_warmup
from encoders.contract import EncoderContract
from encoders.limits import PARAMETER, limits_among

BACKEND = "python"
# Twice what a client sends by default: two requests that wait are encoded as one, and every batch has a tail in which
# some cores are idle. Much more would keep a query waiting for longer.
MAX_BATCH = 128
INSTANCES = 1
QUEUE_DELAY_US = 200
# What is decoded in the process of the model, so that an answer is a function of the request alone. The decoder of a
# picture, a sound or a film may run out of time on a busy machine, and that must not be remembered.
REMEMBERED = frozenset({"text", "sequence"})
HEADER = "# Written from the encoder contract by `connector apply`; edits are lost.\n"


def render_config(
    contract: EncoderContract | Sequence[EncoderContract],
    *,
    max_batch: int = MAX_BATCH,
    instances: int = INSTANCES,
    threads: int | None = None,
    members: Sequence[Members] = (),
    limits: Mapping[str, int | float] | None = None,
) -> str:
    """Text of a model's `config.pbtxt`.

    Args:
        contract: of every version of the model in the repository.
        members: of every version of a fused encoder, whose heads the model then holds.
        max_batch: most inputs that the server puts into one batch.
        instances: copies of the model that work at once.
        threads: cores that each copy uses; None: all that the server may use.
        limits: that inputs are held to, by name; see `encoders.limits`.

    Raises:
        ConfigurationError: contracts of several models, or of one version twice.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    contracts = sorted([contract] if isinstance(contract, EncoderContract) else contract, key=lambda c: c.version)
    newest = contracts[-1]
    if {c.name for c in contracts} != {newest.name} or len({c.version for c in contracts}) != len(contracts):
        raise ConfigurationError(f"model {newest.name}: contracts of several models, or one version twice")
    # Versions of one model may differ in dimension; only then is it left open.
    dimension = newest.dimension if len({c.dimension for c in contracts}) == 1 else -1
    config = pb.ModelConfig(
        name=newest.name,
        backend=BACKEND,
        max_batch_size=max_batch,
        version_policy=pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All()),
        input=head_inputs(members)
        if members
        else [
            pb.ModelInput(name="INPUT", data_type=pb.TYPE_STRING, dims=[1]),
            pb.ModelInput(name="QUERY", data_type=pb.TYPE_BOOL, dims=[1], optional=True),
        ],
        output=[
            pb.ModelOutput(name="EMBEDDING", data_type=pb.TYPE_FP32, dims=[dimension]),
            pb.ModelOutput(name="ERROR", data_type=pb.TYPE_STRING, dims=[1]),
            pb.ModelOutput(name="CHECK", data_type=pb.TYPE_UINT32, dims=[1]),
        ],
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=instances)],
        # No priorities and no bounded queue: with either, what comes while the model is at work may lie for half
        # a second beside an idle model (ADR 0023).
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=sorted({max(1, max_batch // 4), max(1, max_batch // 2), max_batch}),
            max_queue_delay_microseconds=QUEUE_DELAY_US,
        ),
        parameters={
            name: pb.ModelParameter(string_value=value)
            for name, value in _parameters(contracts, threads, limits or {}).items()
        },
    )
    if newest.modality in REMEMBERED and not limits:
        # A server that was started without a response cache ignores it. An answer outlives a reload, in which other
        # limits may come.
        config.response_cache.enable = True
    if has_warmup(newest.modality):
        data = pb.ModelWarmup.Input(data_type=pb.TYPE_STRING, dims=[1], input_data_file=WARMUP_FILE)
        config.model_warmup.append(pb.ModelWarmup(name="sample", batch_size=1, inputs={"INPUT": data}))
    text: str = text_format.MessageToString(config)
    return HEADER + text


def parse_config(text: str) -> Any:
    """The `ModelConfig` message of a `config.pbtxt`.

    Raises:
        ConfigurationError: it does not parse.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ConfigurationError(f"config.pbtxt does not parse: {error}") from error


def contracts_of(config: Any) -> dict[int, EncoderContract]:
    """Contracts that a model's configuration states, by version; empty for a model that is no encoder.

    Raises:
        EncoderLoadError: a parameter that should hold a contract does not.
    """
    found: dict[int, EncoderContract] = {}
    for name, parameter in config.parameters.items():
        if name == "contract" or name.startswith("contract."):
            contract = EncoderContract.from_json(parameter.string_value)
            found[contract.version] = contract
    return found


def limits_of(config: Any, modality: str) -> dict[str, int | float]:
    """Limits that a model's configuration states.

    Raises:
        EncoderLoadError: one that encoders of this modality do not have.
    """
    return limits_among(((name, value.string_value) for name, value in config.parameters.items()), modality)


def _parameters(
    contracts: Sequence[EncoderContract], threads: int | None, limits: Mapping[str, int | float]
) -> dict[str, str]:
    newest = contracts[-1]
    # Clients find a fused encoder's contract on its ensembles; the model of its heads is none.
    encoder = newest.modality != "fused"
    parameters = {"contract": newest.to_json(), "contract_hash": newest.hash} if encoder else {}
    if threads is not None:
        parameters["threads"] = str(threads)
    parameters |= {f"{PARAMETER}{name}": str(value) for name, value in limits.items()}
    for contract in contracts:
        if encoder:
            parameters[f"contract.{contract.version}"] = contract.to_json()
        parameters[f"contract_hash.{contract.version}"] = contract.hash
    return parameters
