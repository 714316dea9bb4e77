"""Reading Hugging Face model folders: quietly, from safetensors only, and whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encoders.errors import EncoderLoadError
from encoders.weight_files import weight_files


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and load reports off the terminal; missing weights are checked for here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_config(folder: Path) -> Any:
    """The model's configuration; custom code is never run.

    Raises:
        EncoderLoadError: no config.json, or an architecture that transformers does not know.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise EncoderLoadError(f"{folder}: holds no config.json; give a folder saved by save_pretrained()")
    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise EncoderLoadError(f"{folder}: config.json is not understood ({_line(error)})") from error


def load_backbone(model_class: Any, folder: Path, *, may_lack: tuple[str, ...] = (), **options: Any) -> Any:
    """Load a model in float32, evaluation mode.

    Args:
        model_class: a transformers class with `from_pretrained`.
        may_lack: substrings of weight names whose absence is fine, because their output is not used.

    Raises:
        EncoderLoadError: pickled, missing or misshapen weights.
    """
    import torch

    weight_files(folder)
    try:
        with quiet():
            model, report = model_class.from_pretrained(
                folder,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except Exception as error:
        raise EncoderLoadError(f"{folder}: cannot be loaded ({_line(error)})") from error
    missing = sorted(name for name in report["missing_keys"] if not any(part in name for part in may_lack))
    if missing:
        raise EncoderLoadError(
            f"{folder}: the weights lack {len(missing)} tensors ({missing[0]}, …); "
            f"the folder does not hold a whole {type(model).__name__}"
        )
    return model.eval()


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
