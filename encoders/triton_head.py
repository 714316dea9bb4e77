"""The Python-backend model that serves the heads of a fused encoder, the last step of its ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.errors import EncoderError
from encoders.fused import FusedPreprocessing, fuse
from encoders.runtime.onnx import OnnxRuntime
from encoders.triton_model import answers, is_checked, open_version
from encoders.wire import ABSENT, joined_checks

Vectors = dict[str, NDArray[np.float32]]


class TritonPythonModel:
    """Inputs `<MODALITY>_EMBEDDING`, `…_ERROR` and `…_CHECK` of each member, outputs `EMBEDDING`, `ERROR` and `CHECK`.

    A member's reason `encoders.wire.ABSENT` means that the item has no such part; any other is an error of its row.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Open the encoder folder `<model repository>/<version>`.

        Raises:
            EncoderLoadError: the folder is not whole.
            ContractMismatchError: it holds another encoder than the configuration says.
        """
        folder, parameters = open_version(args)
        self._modalities = FusedPreprocessing.from_dict(folder.preprocessing).modalities
        self._dimension = folder.contract.dimension
        threads = int(parameters["threads"]) if parameters.get("threads") else None
        self._checked = is_checked(args)
        self._runtime = OnnxRuntime(folder.graph, threads=threads)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests by one run of the head."""
        import triton_python_backend_utils as backend

        def gathered(name: str) -> NDArray[Any]:
            parts = [backend.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            return np.concatenate(parts)

        vectors: Vectors = {name: gathered(f"{name.upper()}_EMBEDDING") for name in self._modalities}
        count = len(vectors[self._modalities[0]])
        present = np.ones((count, len(self._modalities)), bool)
        errors: dict[int, str] = {}
        for at, modality in enumerate(self._modalities):
            for row, cell in enumerate(gathered(f"{modality.upper()}_ERROR").reshape(-1)):
                reason = cell.decode("utf-8", "replace")
                present[row, at] = reason != ABSENT
                if reason and reason != ABSENT:
                    errors.setdefault(row, f"{modality}: {reason}")
        first = f"{self._modalities[0].upper()}_ERROR"
        sizes = [len(backend.get_input_tensor_by_name(request, first).as_numpy()) for request in requests]
        try:
            result = fuse(self._runtime, vectors, present, errors, self._dimension)
        except EncoderError as error:
            failure = backend.TritonError(str(error))
            return [backend.InferenceResponse(error=failure) for _ in requests]
        checks = [gathered(f"{name.upper()}_CHECK").reshape(-1) for name in self._modalities] if self._checked else []
        return answers(backend, result, np.cumsum(sizes).tolist(), joined_checks(checks) if checks else None)

    def finalize(self) -> None:
        """Release the head."""
        self._runtime.close()
