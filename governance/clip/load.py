"""Loading an open_clip model with everything that its state dict does not say."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from governance.clip.huggingface import TextFiles, find_text_files
from governance.clip.source import HUB_PREFIX, Source
from governance.digests import digest_bytes, digest_json, digest_mapping
from governance.errors import (
    GovernanceError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from governance.evidence.artifact import SignedModel, is_signed, verify_directory
from governance.unlearning.projector import digest_tensor


@dataclass(frozen=True)
class ClipModel:
    """A loaded base model, in evaluation mode on the CPU at float32.

    Attributes:
        source: where it came from.
        module: the open_clip model.
        config: ``model_cfg`` and ``preprocess_cfg``, as an exported directory needs them.
        preprocess: PIL image → 3 × H × W tensor.
        tokenize: prompts → token ids.
        tensor_digests: digest of each tensor of the state dict.
        files: of a Hugging Face text tower or tokenizer that lies in the model's directory, as an exported directory
            holds them, path → bytes.
        signed: who signed the model's directory, if somebody did; every file in it is as it was then.
    """

    source: Source
    module: nn.Module
    config: dict[str, Any]
    preprocess: Callable[[Any], Tensor]
    tokenize: Callable[[list[str]], Tensor]
    tensor_digests: dict[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    signed: SignedModel | None = field(default=None, repr=False)

    @property
    def weights_digest(self) -> str:
        """Digest of all weights, independent of file format."""
        return digest_mapping(self.tensor_digests)

    @property
    def config_digest(self) -> str:
        """Digest of architecture, image preprocessing and text files, which the weights do not say."""
        files = {name: digest_bytes(content) for name, content in self.files.items()}
        return digest_json(self.config | ({"files": files} if files else {}))

    @property
    def needs_transformers(self) -> bool:
        """Whether its text tower or tokenizer is one of Hugging Face's."""
        text_cfg = self.config["model_cfg"]["text_cfg"]
        return bool(text_cfg.get("hf_model_name") or text_cfg.get("hf_tokenizer_name"))

    @property
    def dimension(self) -> int:
        """d, the width of the joint embedding."""
        return int(self.config["model_cfg"]["embed_dim"])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        size = self.config["preprocess_cfg"]["size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax."""
        scale = getattr(self.module, "logit_scale", None)
        return float(scale.detach().exp()) if isinstance(scale, Tensor) else 1.0


def load_model(
    source: Source,
    expected_digest: str | None = None,
    expected_config: str | None = None,
    trusted: str | None = None,
) -> ClipModel:
    """Load a model and take the digest of its weights; a signed directory must be as it was signed.

    Args:
        source: what to load.
        expected_digest: digest of the weights at registration, if they must be the same.
        expected_config: digest of architecture and preprocessing at registration, likewise.
        trusted: id of the key that must have signed its directory; None if that does not matter.

    Raises:
        NotFoundError: files are missing.
        InvalidInputError: the name, tag, configuration or weights cannot be used.
        UnavailableError: weights had to be downloaded and could not be.
        IntegrityError: the weights or the configuration are not the expected ones, or a signed directory is not as
            it was signed (`governance.evidence.artifact.verify_directory`).
    """
    signed = _check_signature(source, trusted)
    source.check_files()
    with _quiet():
        model_cfg = _model_config(source)
        text = find_text_files(source.directory, model_cfg["text_cfg"])
        module, preprocess, tokenize = _create(source, model_cfg, text)
    module.eval()
    state = module.state_dict()
    model = ClipModel(
        source=source,
        module=module,
        config=_config(model_cfg, text, module),
        preprocess=preprocess,
        tokenize=tokenize,
        tensor_digests={name: digest_tensor(tensor) for name, tensor in state.items()},
        files=text.content,
        signed=signed,
    )
    if expected_digest is not None and model.weights_digest != expected_digest:
        raise IntegrityError(
            f"the weights of {source.describe()} changed since the model was registered "
            f"(then {expected_digest}, now {model.weights_digest}); restore them, or register the "
            "new weights as another model"
        )
    if expected_config is not None and model.config_digest != expected_config:
        raise IntegrityError(
            f"the configuration of {source.describe()} changed since the model was registered; "
            "restore it, or register it as another model"
        )
    return model


def _check_signature(source: Source, trusted: str | None) -> SignedModel | None:
    directory = source.directory
    if directory is None or not is_signed(directory):
        if trusted is None:
            return None
        raise IntegrityError(f"{source.describe()} is not signed, and key {trusted} should have")
    return verify_directory(directory, trusted)


def _create(
    source: Source, model_cfg: dict[str, Any], text: TextFiles
) -> tuple[nn.Module, Callable[[Any], Tensor], Callable[[list[str]], Tensor]]:
    _check_activation(source)
    text_cfg = model_cfg["text_cfg"]
    overrides: dict[str, Any] = {}
    if text.model is not None:
        # The weights of the tower are in the checkpoint; only its architecture is read from there.
        own = {"hf_model_name": str(text.model), "hf_model_pretrained": False}
        overrides = {"text_cfg": text_cfg | own}
    try:
        model, preprocess = open_clip.create_model_from_pretrained(
            source.open_clip_name,
            pretrained=source.pretrained,
            force_quick_gelu=source.quick_gelu,
            **overrides,
        )
        if text.tokenizer in (None, source.directory):
            tokenize = open_clip.get_tokenizer(source.open_clip_name)
        else:  # open_clip would look in the model's directory itself
            tokenize = open_clip.tokenizer.HFTokenizer(
                str(text.tokenizer),
                context_length=text_cfg.get(
                    "context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH
                ),
                tokenizer_mode=text_cfg.get("tokenizer_mode"),
                **text_cfg.get("tokenizer_kwargs", {}),
            )
    except Exception as error:  # open_clip raises bare RuntimeErrors and whatever its readers raise
        raise _explained(source, error) from error
    return model, preprocess, tokenize


def _explained(source: Source, error: Exception) -> GovernanceError:
    """What open_clip or transformers raised, in our words."""
    lines = str(error).strip().splitlines()
    message = lines[0] if lines else type(error).__name__
    offline = (
        "huggingface.co" in message
    )  # a directory too may name a text tower or tokenizer on the hub
    if offline or (source.directory is None and ("download" in message or "Hub" in message)):
        return UnavailableError(f"{source.describe()} could not be downloaded: {message}")
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{source.describe()}: {message}")
    return InvalidInputError(f"{source.describe()} cannot be loaded: {message}")


def _check_activation(source: Source) -> None:
    """open_clip only warns when weights were trained with another activation, and serves wrong features.

    Raises:
        InvalidInputError: the tag's weights and the configuration disagree on QuickGELU.
    """
    tag = open_clip.get_pretrained_cfg(source.name, source.pretrained) if source.pretrained else {}
    if not tag:
        return
    trained = bool(tag.get("quick_gelu", False))
    configured = bool(open_clip.get_model_config(source.name).get("quick_gelu", False))
    if trained and not (configured or source.quick_gelu):
        raise InvalidInputError(
            f"the weights {source.pretrained} were trained with QuickGELU and {source.name} is "
            "configured without; add --quick-gelu"
        )
    if not trained and (configured or source.quick_gelu):
        raise InvalidInputError(
            f"the weights {source.pretrained} were trained without QuickGELU; use the "
            f"configuration {source.name.removesuffix('-quickgelu')} and leave --quick-gelu out"
        )


def _model_config(source: Source) -> dict[str, Any]:
    """``model_cfg`` of a model; the model object does not carry it."""
    known = source.name in open_clip.list_models()
    if source.directory is None and not source.name.startswith(HUB_PREFIX) and not known:
        raise InvalidInputError(
            f'open_clip has no configuration {source.name!r}; see `python -c "import open_clip; '
            'print(open_clip.list_models())"`, or name a directory as local-dir:PATH'
        )
    try:
        config: dict[str, Any] = deepcopy(open_clip.get_model_config(source.open_clip_name))
        _ = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    except KeyError as error:
        lost = (
            ", so it has no image tower to edit or to synthesise prototypes through"
            if error.args == ("vision_cfg",)
            else ""
        )
        raise InvalidInputError(
            f"{source.describe()} cannot be loaded: its configuration has no {error}{lost}"
        ) from error
    except Exception as error:  # whatever the hub's client and the JSON reader raise
        raise _explained(source, error) from error
    if source.quick_gelu:
        config["quick_gelu"] = True
    return config


def _config(model_cfg: dict[str, Any], text: TextFiles, module: nn.Module) -> dict[str, Any]:
    """What ``open_clip_config.json`` of this model says."""
    preprocess = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in module.visual.preprocess_cfg.items()  # type: ignore[union-attr, operator]
    }
    text_cfg = model_cfg["text_cfg"] | dict(text.names)
    return {"model_cfg": model_cfg | {"text_cfg": text_cfg}, "preprocess_cfg": preprocess}


# What is switched off is the whole process's: two threads in it at once would put back what the other had set.
_silence = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's chatter off the user's terminal; what matters becomes an error of ours."""
    with _silence, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous, disabled = logging.root.manager.disable, logging.root.disabled
        logging.disable(logging.WARNING)
        # There open_clip logs the errors that it raises as well; what others log as errors is shown.
        logging.root.disabled = True
        try:
            yield
        finally:
            logging.disable(previous)
            logging.root.disabled = disabled


def no_grad_features(module: nn.Module, images: Tensor) -> Tensor:
    """Unnormalised image features, n × d float32."""
    with torch.inference_mode():
        features: Tensor = module.encode_image(images, normalize=False)  # type: ignore[operator]
    return features.to(torch.float32)
