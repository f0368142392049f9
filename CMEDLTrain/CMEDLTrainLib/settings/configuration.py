"""The settings of a run: one tree of dataclasses, three presets, nothing hidden elsewhere.

The tree is written to ``configuration.json`` before anything else happens and read back to resume. Every number
of training stands here once, with the paper's value where the paper gives one.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field, replace
from typing import Any

from CMEDLSegmentLib.base.errors import InputError

from . import ranges
from .translation_settings import TranslationSettings


@dataclass(frozen=True)
class MethodEntry:
    """What is known of a method before its networks are built and torch is imported.

    Attributes:
        builder: file and function of ``methods`` that build it from a configuration.
        words: what it is.
        roles: the cohort's roles that it learns from.
    """

    builder: str
    description: str
    roles: tuple[str, ...] = ("student", "teacher")


METHODS = {
    "ct-only": MethodEntry("ct_only.student_only", "the student alone", ("student",)),
    "cmedl": MethodEntry("joint.cmedl", "student, teacher and CycleGAN together"),
    "vae-cmedl": MethodEntry("joint.vae_cmedl", "student, teacher and DRIT together"),
    "pmri-cmedl": MethodEntry("joint.pmri_cmedl", "as cmedl, but the teacher segments translated images at test time"),
    "weak": MethodEntry("joint.cmedl", "cmedl; student and teacher are MR and CT in the table, hints alone"),
    "weak+pseudo": MethodEntry(
        "joint.weak_with_pseudo", "weak, and the student learns from translated teacher images too"
    ),
    "pmri-cycle": MethodEntry("fusion.pmri_cycle", "the student's images translated by CycleGAN, segmented"),
    "pmri-drit": MethodEntry("fusion.pmri_drit", "the student's images translated by DRIT, segmented"),
    "ct+pmri": MethodEntry("fusion.both", "an image and its translation segmented as two channels"),
    "weighted": MethodEntry("fusion.weighted", "an image and its translation, weighted by a network"),
    "mutual": MethodEntry(
        "mutual_distillation.mutual",
        "two students, of their own and of translated teacher images, that imitate each other",
    ),
    "output-distillation": MethodEntry(
        "joint.output_distillation", "as cmedl, with the teacher's outputs in place of its features"
    ),
    "cmedl-without-contextual": MethodEntry("joint.without_contextual", "cmedl without the contextual loss"),
    "cmedl-without-cycle": MethodEntry("joint.without_cycle", "cmedl without the cycle loss"),
    "cmedl-without-real-labels": MethodEntry("joint.without_real_labels", "cmedl without the teacher's own contours"),
    "cmedl-without-pseudo-labels": MethodEntry(
        "joint.without_pseudo_labels", "cmedl without translated images for the teacher"
    ),
}
"""Method by the name that ``--method`` takes; another one is a function and a line."""

FORMAT = 1
"""Version of ``configuration.json``; raised when an old run could no longer be read."""


@dataclass(frozen=True)
class Network:
    """The segmentor: its kind and widths (``CMEDLSegmentLib.networks.create_segmentor``)."""

    kind: str = "unet"
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Images:
    """How slices become patches; a student sees at test time what it saw here."""

    spacing_mm: float = 1.5
    field: int = 256
    """Side of the square patch in pixels (paper: 256)."""
    window_hu: tuple[float, float] = (-1000.0, 500.0)
    """Of CT. MR is standardized by landmarks of its role's training cases (Nyul et al. 2000)."""
    mr_maximum: float = 0.0
    """Where standardized MR of the student is clipped (paper: T1w 1136, T2w 1814); 0: at the last landmark."""
    teacher_mr_maximum: float = 0.0
    """The same of the teacher."""
    slices: str = "lung"
    """``lung``: of CT the slices that contain lung, and those with the structure; ``all``: every slice."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training patch (section III-C: flip, scaling, rotation, elastic deformation)."""

    flip: bool = True
    scale: tuple[float, float] = (0.8, 1.25)
    rotation_degrees: float = 15.0
    shift_mm: float = 20.0
    elastic_mm: float = 4.0
    """Standard deviation of the displacement at the control points; 0 switches it off."""
    elastic_spacing_mm: float = 48.0
    intensity: float = 0.0
    """Random gain and offset of the normalized intensity, as half-widths; 0.04 is 30 HU of a 1500 HU window."""
    erase: float = 0.0
    """Share of patches whose structure is replaced by the mirrored other side, to show negatives."""
    paste: float = 0.0
    """Share of patches that receive the structure of another one of the batch (CarveMix)."""
    window: int = 0
    """Side in pixels of the random part of a patch that a step sees, mostly near the structure; 0: all of it. Cheaper
    steps where memory or time is short; the running statistics of batch norm then are those of such windows."""


@dataclass(frozen=True)
class Loss:
    """Weights of the segmentation loss (paper: Dice alone; READING option: with cross-entropy)."""

    dice: float = 1.0
    cross_entropy: float = 0.0
    recall: float = 0.5
    """Weight in the Dice term of what is missed against what is marked falsely; 0.5 is Dice, else Tversky."""


@dataclass(frozen=True)
class Distillation:
    """What teacher and student descend in joint training (equations 1, 2, 7 and 13); a weight of 0 is an ablation."""

    segmentation: float = 5.0
    """Of all three parts of L_seg: the student's, and the teacher's on pseudo and on real images of its modality."""
    teacher_pseudo: float = 1.0
    teacher_real: float = 1.0
    student_pseudo: float = 0.0
    """Of the student on teacher images that were translated into its modality (Table VI)."""
    hint: float = 1.0
    hints: str = "high"
    """Depth of the features that are compared: ``high`` (the paper's last two), ``mid`` or ``low``."""
    output: float = 0.0
    """Of output distillation, which the paper compares hints with."""
    temperature: float = 0.5
    """Of output distillation."""
    separate: bool = False
    """Whether generators and segmentors have updates of their own, as section III-A3 alternates: the generators descend
    the weighted sum, the segmentors L_hint and L_seg without weights. It costs a second pass through the segmentors."""

    @property
    def needs_pseudo(self) -> bool:
        """Whether the teacher has to look at translated images."""
        return bool(self.teacher_pseudo or self.hint or self.output)


@dataclass(frozen=True)
class Optimization:
    """Adam, its schedule, and when to stop (section III-C)."""

    batch: int = 2
    learning_rate: float = 2e-4
    """Of the segmentors."""
    translation_learning_rate: float = 1e-4
    schedule: str = "constant"
    """``constant`` (paper) or ``cosine`` (linear warm-up over 2 % of the steps, then a cosine to zero)."""
    epochs: int = 100
    patience: int = 20
    """Epochs without a better validation loss after which training ends (early stopping)."""
    validate_every: int = 1
    """Epochs from one validation to the next."""
    sampling: str = "uniform"
    """``uniform`` over slices, or ``patient``: slices weighted by one over the root of their patient's count."""
    ema_half_life_steps: float = 0.0
    """Half-life of the exponential moving average of the student's weights; 0 switches it off."""
    precision: str = "fp32"
    """``fp32`` or ``bf16`` (autocast; losses stay in fp32)."""
    graph: bool = False
    """The whole step as one CUDA graph; one process on an NVIDIA GPU alone."""
    compile: bool = False
    """The networks through ``torch.compile``, which takes minutes before the first step."""


@dataclass(frozen=True)
class Configuration:
    """Everything a run needs to be started, and started again."""

    method: str = "ct-only"
    preset: str = "paper"
    cohort: str = ""
    """Absolute path of the cohort's CSV."""
    initial: str = ""
    """Student file whose weights training starts from; empty: from scratch."""
    seed: int = 0
    device: str = "auto"
    labels: tuple[str, ...] = ("Tumor",)
    network: Network = Network()
    images: Images = Images()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    translation: TranslationSettings = field(default_factory=TranslationSettings)
    features: str = "vgg19"
    """Where the contextual loss's features come from: ``vgg19`` or ``vgg16`` (downloaded, hash checked), a file of such
    weights, or ``random``."""
    distillation: Distillation = Distillation()
    optimization: Optimization = Optimization()
    format: int = FORMAT

    @property
    def entry(self) -> MethodEntry:
        """The configured method.

        Raises:
            InputError: there is none of that name.
        """
        if self.method not in METHODS:
            raise InputError(f"There is no method '{self.method}'; there are: {', '.join(METHODS)}.")
        return METHODS[self.method]

    def to_json(self) -> str:
        """The whole tree as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def labels_of(text: str) -> tuple[str, ...]:
    """The names of a mask's values 1, 2, ... that stand between commas; without any, those of a new configuration.

    Raises:
        InputError: a name is missing, or stands there twice.
    """
    if not text.strip():
        return Configuration().labels
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f'The labels "{text}" are not different names between commas; write Liver,Spleen.')
    return names


def from_json(text: str) -> Configuration:
    """Read :meth:`Configuration.to_json` back.

    Raises:
        InputError: not JSON, an unknown or wrongly typed entry, or a format this program does not know.
    """
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise InputError(f"The run's configuration.json is not JSON ({error}); restore it or start anew.") from error
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise InputError(f"The run's configuration.json is not of format {FORMAT}; use the program that wrote it.")
    if OLD_SPELLING in tree:
        tree[SPELLING] = tree.pop(OLD_SPELLING)
    return _build(Configuration, tree, "")


SPELLING, OLD_SPELLING = "optimization", "optimisation"
"""What a part of the tree is called, and was called in runs and experiments before."""
TINY_WIDTHS: dict[str, dict[str, Any]] = {
    "unet": {"width": 4},
    "densefcn": {"width": 4, "growth": 2},
    "mrrn": {"width": 2},
}
"""Arguments of each segmentor with the preset ``tiny``; with the others it has the paper's."""

PRESETS: dict[str, Configuration] = {
    # Section III-C as it stands.
    "paper": Configuration(preset="paper"),
    # The same mathematics with a batch and a schedule that converge sooner, and wide scales because the spacing of
    # published data is often nominal. Dice alone, as in the paper: on phantoms, hints beside a cross-entropy kept the
    # student's probabilities below one half (Testing/experiments/README.md).
    "fast": Configuration(
        preset="fast",
        augmentation=Augmentation(scale=(0.7, 1.4), intensity=0.04, erase=0.1),
        optimization=Optimization(
            batch=6,
            learning_rate=1e-3,
            schedule="cosine",
            epochs=60,
            patience=60,
            sampling="patient",
            ema_half_life_steps=200,
            precision="bf16",
        ),
    ),
    # Seconds on a CPU: for tests and for trying the program out. It learns nothing worth using.
    "tiny": Configuration(
        preset="tiny",
        network=Network(arguments=TINY_WIDTHS["unet"]),
        images=Images(spacing_mm=6.0, field=64),
        translation=TranslationSettings(width=4, blocks=1, pool=8),
        features="random:8",
        optimization=Optimization(
            batch=4, learning_rate=3e-3, translation_learning_rate=1e-3, epochs=2, ema_half_life_steps=4
        ),
    ),
}


def with_settings(configuration: Configuration, settings: typing.Iterable[str]) -> Configuration:
    """Apply ``key=value`` settings, keys dotted (``optimization.epochs=20``), values JSON or plain text.

    Raises:
        InputError: no such key (the message lists those there are), or a value of the wrong type or out of range.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if key.partition(".")[0] == OLD_SPELLING:
            key = key.replace(OLD_SPELLING, SPELLING, 1)
        if not equals:
            raise InputError(
                f"The setting '{setting}' is not of the form key=value; write --set optimization.epochs=20."
            )
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        configuration = _replaced(configuration, key.split("."), value, key)
    ranges.check(configuration)
    return configuration


def _replaced(node: Any, path: list[str], value: Any, key: str) -> Any:
    if isinstance(node, dict):
        if len(path) != 1:
            raise InputError(f"The setting '{key}' goes deeper than there are settings.")
        return {**node, path[0]: value}
    names = [item.name for item in dataclasses.fields(node)]
    if path[0] not in names:
        raise InputError(f"There is no setting '{key}'; at '{path[0]}' there are: {', '.join(names)}.")
    current = getattr(node, path[0])
    if len(path) > 1:
        if not (dataclasses.is_dataclass(current) or isinstance(current, dict)):
            raise InputError(f"The setting '{key}' goes deeper than there are settings.")
        return replace(node, **{path[0]: _replaced(current, path[1:], value, key)})
    hint = typing.get_type_hints(type(node))[path[0]]
    return replace(node, **{path[0]: _typed(hint, value, key)})


def _build(kind: type, tree: dict[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(tree) - set(hints))
    if unknown:
        raise InputError(f"configuration.json has an unknown setting '{where}{unknown[0]}'; remove it.")
    return kind(**{name: _typed(hints[name], value, where + name) for name, value in tree.items()})


def _typed(hint: Any, value: Any, key: str) -> Any:
    """``value`` as the type that the dataclass names, or an error that names the setting."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise InputError(f"The setting '{key}' must be a group of settings.")
        return _build(hint, value, key + ".")
    origin = typing.get_origin(hint) or hint
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = typing.get_args(hint)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(_typed(one, item, key) for one, item in zip(kinds, value, strict=True))
    elif origin is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif origin is not tuple and isinstance(value, origin) and (origin is bool or not isinstance(value, bool)):
        return value
    raise InputError(
        f"The setting '{key}' cannot be {value!r}; give a value of type {getattr(hint, '__name__', hint)}."
    )
