"""Networks and their options: one class for each network that ``dualgrad.models`` builds, and one for all others.

What an option's default is, its builder knows; a run holds what it was given. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from dualgrad.census.part import Part, Positive, RunId, optional, wrong

Dropout = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)]


class Network(Part):
    """What every network has. ``inputs_kind``: the kind of task that it is for."""

    inputs_kind: ClassVar[Literal["image", "text"]] = "image"

    body_from: RunId | None = optional(
        "run whose trained weights a fresh network starts with, but for its head"
    )


class MLP(Network):
    """Linear-BatchNorm-ReLU blocks on the flattened image, then a linear layer."""

    name: Literal["mlp"] = Field(description="name of the network")
    hidden: Widths = Field(description="widths of the blocks")
    inputs: Positive | None = optional("number of inputs; default: the size of the data set's images")


class _OwnResNet(Network):
    width: Annotated[float, Field(gt=0)] | None = optional("factor on the channel numbers; default 1")

    @model_validator(mode="after")
    def _has_channels(self) -> _OwnResNet:
        if self.width is not None and int(64 * self.width) < 1:
            wrong("width", f"expected at least {1 / 64:g}, which is one channel; got {self.width!r}")
        return self


class ResNet18Own(_OwnResNet):
    """ResNet-18 for small images, written out by hand."""

    name: Literal["resnet18_own"] = Field(description="name of the network")


class ResNet34Own(_OwnResNet):
    """ResNet-34 for small images, written out by hand."""

    name: Literal["resnet34_own"] = Field(description="name of the network")


class ResNet18TV(Network):
    """torchvision's ResNet-18 with a 3×3 stem and no max-pool."""

    name: Literal["resnet18_tv"] = Field(description="name of the network")


class ResNet34TV(Network):
    """torchvision's ResNet-34 with a 3×3 stem and no max-pool."""

    name: Literal["resnet34_tv"] = Field(description="name of the network")


class VGG11P(Network):
    """VGG11 of experiment P: batch norm, one linear layer."""

    name: Literal["vgg11_p"] = Field(description="name of the network")


class VGG11P2(Network):
    """VGG11 of experiment P2: hidden layer and dropout in the head."""

    name: Literal["vgg11_p2"] = Field(description="name of the network")


class SimpleCNNP(Network):
    """SimpleCNN of experiment P: four convolutions."""

    name: Literal["simplecnn_p"] = Field(description="name of the network")


class SimpleCNNP2(Network):
    """SimpleCNN of experiment P2: two pairs of convolutions, dropout."""

    name: Literal["simplecnn_p2"] = Field(description="name of the network")


class TextCNN(Network):
    """Embedding, convolutions, maximum over positions, dropout, linear layer."""

    inputs_kind = "text"

    name: Literal["textcnn"] = Field(description="name of the network")
    dim: Positive | None = optional("size of a word's vector; default 128")
    filters: Positive | None = optional("filters of each width; default 100")
    kernels: Widths | None = optional("widths of the filters, in words; default [3, 4, 5]")
    dropout: Dropout | None = optional("share of the features left out in training; default 0.5")
    vocab_size: Positive | None = optional("number of different words; default: the data set's")


class DistilBERT(Network):
    """distilbert-base-uncased with a new head."""

    inputs_kind = "text"

    name: Literal["distilbert"] = Field(description="name of the network")
    pretrained: bool | None = optional("from the published weights (default), or random ones")


class DistilBERTMini(Network):
    """The DistilBERT architecture in small, with random weights."""

    inputs_kind = "text"

    name: Literal["distilbert_mini"] = Field(description="name of the network")
    dim: Positive | None = optional("size of a token's vector; default 32")
    layers: Positive | None = optional("transformer blocks; default 2")
    heads: Positive | None = optional("attention heads, a divisor of dim; default 2")
    hidden_dim: Positive | None = optional("width of the feed-forward layers; default: twice dim")
    max_position: Positive | None = optional("longest text, in tokens; default 32")
    activation: Literal["gelu", "relu"] | None = optional("activation of the blocks; default gelu")
    dropout: Dropout | None = optional(
        "of all layers; default: DistilBERT's .1, and .2 before the classifier"
    )
    vocab_size: Positive | None = optional("number of different tokens; default: the data set's")

    @model_validator(mode="after")
    def _heads_divide(self) -> DistilBERTMini:
        dim, heads = self.dim or 32, self.heads or 2
        if dim % heads:
            wrong("heads", f"expected a divisor of dim, which is {dim}; got {heads}")
        return self


Option = bool | int | float | str | list[Any] | None


class Imported(Network):
    """A network of one's own, built by a function that is imported: ``build(options, classes)``.

    Every other key is an option, which the function gets. It may be for pictures or for text.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Option]

    name: str | None = optional("given by the census: the import path")
    path: str = Field(
        alias="import",
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="`package.module:function`, looked for in the workflow's folder first",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, given: Any) -> Any:
        return given

    @model_validator(mode="after")
    def _is_called_as_it_is_imported(self) -> Imported:
        if self.name not in (None, self.path):
            wrong("name", f"expected no name beside import; got {self.name!r}")
        return self


BuiltIn = Annotated[
    MLP
    | ResNet18Own
    | ResNet34Own
    | ResNet18TV
    | ResNet34TV
    | VGG11P
    | VGG11P2
    | SimpleCNNP
    | SimpleCNNP2
    | TextCNN
    | DistilBERT
    | DistilBERTMini,
    Field(discriminator="name"),
]
# The tags have a space, so that none is a key of a model.
Model = Annotated[
    Annotated[BuiltIn, Tag("built in")] | Annotated[Imported, Tag("of one's own")],
    Discriminator(
        lambda given: (
            "of one's own"
            if isinstance(given, Imported) or (isinstance(given, Mapping) and "import" in given)
            else "built in"
        )
    ),
]


def network_names() -> list[str]:
    """Names of the built-in networks."""
    return [get_args(one.model_fields["name"].annotation)[0] for one in get_args(get_args(BuiltIn)[0])]


# Trainable numbers of the published networks, by name, width and number of classes, as the specs print them; a test
# counts them.
PARAMETERS: dict[tuple[str, float | None, int], int] = {
    ("resnet18_own", 0.5, 10): 2_797_610,
    ("resnet18_own", 1.0, 10): 11_173_962,
    ("resnet18_own", 2.0, 10): 44_662_922,
    ("resnet18_own", 1.0, 100): 11_220_132,
    ("resnet18_tv", None, 10): 11_173_962,
    ("resnet18_tv", None, 100): 11_220_132,
    ("resnet34_own", None, 10): 21_282_122,
    ("resnet34_tv", None, 10): 21_282_122,
    ("vgg11_p", None, 10): 9_231_114,
    ("vgg11_p2", None, 10): 9_493_770,
    ("simplecnn_p", None, 10): 399_626,
    ("simplecnn_p2", None, 10): 2_360_906,
    ("distilbert", None, 2): 66_955_010,
}
