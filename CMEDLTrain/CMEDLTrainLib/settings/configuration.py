"""The settings of a run: one tree of dataclasses, three presets, nothing hidden elsewhere.

The tree is written to ``configuration.json`` before anything else happens and read back to resume. Every number
of training stands here once, with the paper's value where the paper gives one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import entries, named, parse_object, read, setting, write, wrong

from .translation_settings import TranslationSettings, weight


@dataclass(frozen=True)
class MethodEntry:
    """What is known of a method before its networks are built and torch is imported.

    Attributes:
        builder: file and function of ``methods`` that build it from a configuration.
        description: what it is.
        roles: the cohort's roles that it learns from.
        changes: settings that it has in any case, by group and name.
    """

    builder: str
    description: str
    roles: tuple[str, ...] = ("student", "teacher")
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


METHODS = {
    "ct-only": MethodEntry("ct_only.student_only", "the student alone", ("student",)),
    "cmedl": MethodEntry("joint.cmedl", "student, teacher and CycleGAN together"),
    "vae-cmedl": MethodEntry(
        "joint.cmedl", "student, teacher and DRIT together", changes={"translation": {"kind": "drit"}}
    ),
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
    # Table VIII.
    "cmedl-without-contextual": MethodEntry(
        "joint.cmedl", "cmedl without the contextual loss", changes={"translation": {"contextual": 0.0}}
    ),
    "cmedl-without-cycle": MethodEntry(
        "joint.cmedl", "cmedl without the cycle loss", changes={"translation": {"cycle": 0.0}}
    ),
    "cmedl-without-real-labels": MethodEntry(
        "joint.cmedl", "cmedl without the teacher's own contours", changes={"distillation": {"teacher_real": 0.0}}
    ),
    "cmedl-without-pseudo-labels": MethodEntry(
        "joint.cmedl",
        "cmedl without translated images for the teacher",
        changes={"distillation": {"teacher_pseudo": 0.0}},
    ),
}
"""Method by the name that ``--method`` takes; another one is a line, and a function where it is no change of one."""

FORMAT = 1
"""Version of ``configuration.json``; raised when an old run could no longer be read."""


@dataclass(frozen=True)
class Network:
    """The segmentor: its kind and widths (``CMEDLSegmentLib.networks.create_segmentor``)."""

    kind: str = "unet"
    arguments: dict[str, Any] = field(default_factory=dict)
    prompt: str = setting(
        "",
        choices=("", "click"),
        help="click: the student segments what a person clicks, slice by slice; a step then sees squares of "
        "augmentation.window pixels around structures, with prompts drawn for them. Empty: it finds structures itself.",
    )


@dataclass(frozen=True)
class Images:
    """How slices become patches; a student sees at test time what it saw here."""

    spacing_mm: float = setting(1.5, low=0.05, high=20.0)
    field: int = setting(256, low=16, high=4096, help="Side of the square patch in pixels (paper: 256).")
    window_hu: tuple[float, float] = setting(
        (-1000.0, 500.0),
        low=-1e9,
        high=1e9,
        help="Of CT. MR is standardized by landmarks of its role's training cases (Nyul et al. 2000).",
    )
    mr_maximum: float = setting(
        0.0,
        low=0,
        high=1e9,
        help="Where standardized MR of the student is clipped (paper: T1w 1136, T2w 1814); 0: at the last landmark.",
    )
    teacher_mr_maximum: float = setting(0.0, low=0, high=1e9, help="The same of the teacher.")
    slices: str = setting(
        "lung",
        choices=("lung", "all"),
        help="lung: of CT the slices that contain lung, and those with the structure; all: every slice.",
    )


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training patch (section III-C: flip, scaling, rotation, elastic deformation)."""

    flip: bool = True
    scale: tuple[float, float] = setting((0.8, 1.25), low=0.1, high=10)
    rotation_degrees: float = setting(15.0, low=0, high=180)
    shift_mm: float = setting(20.0, low=0, high=1000)
    elastic_mm: float = setting(
        4.0, low=0, high=100, help="Standard deviation of the displacement at the control points; 0 switches it off."
    )
    elastic_spacing_mm: float = setting(48.0, low=1, high=1000)
    intensity: float = setting(
        0.0,
        low=0,
        high=1,
        help="Random gain and offset of the normalized intensity, as half-widths; 0.04 is 30 HU of a 1500 HU window.",
    )
    erase: float = setting(
        0.0,
        low=0,
        high=1,
        help="Share of patches whose structure is replaced by the mirrored other side, to show negatives.",
    )
    paste: float = setting(
        0.0, low=0, high=1, help="Share of patches that receive the structure of another one of the batch (CarveMix)."
    )
    window: int = setting(
        0,
        low=0,
        high=4096,
        help="Side in pixels of the random part of a patch that a step sees, mostly near the structure; 0: all of it. "
        "Cheaper steps where memory or time is short; the running statistics of batch norm then are those of such"
        " windows.",
    )


@dataclass(frozen=True)
class Loss:
    """Weights of the segmentation loss (paper: Dice alone; READING option: with cross-entropy)."""

    dice: float = weight(1.0)
    cross_entropy: float = weight(0.0)
    each: bool = setting(
        False,
        help="The Dice term of each patch by itself, then their mean, so that a small structure weighs as much as a "
        "large one; else pooled over the batch.",
    )
    recall: float = setting(
        0.5,
        low=0,
        high=1,
        help="Weight in the Dice term of what is missed against what is marked falsely; 0.5 is DSC, else Tversky.",
    )


@dataclass(frozen=True)
class Distillation:
    """What teacher and student descend in joint training (equations 1, 2, 7 and 13); a weight of 0 is an ablation."""

    segmentation: float = weight(
        5.0,
        "Of all three parts of L_seg: the student's, and the teacher's on pseudo and on real images of its modality.",
    )
    teacher_pseudo: float = weight(1.0)
    teacher_real: float = weight(1.0)
    student_pseudo: float = weight(
        0.0, "Of the student on teacher images that were translated into its modality (Table VI)."
    )
    hint: float = weight(1.0)
    hints: str = setting(
        "high", help="Depth of the features that are compared: high (the paper's last two), mid or low."
    )
    output: float = weight(0.0, "Of output distillation, which the paper compares hints with.")
    temperature: float = setting(0.5, low=1e-3, high=1e3, help="Of output distillation.")
    separate: bool = setting(
        False,
        help="Whether generators and segmentors have updates of their own, as section III-A3 alternates: the "
        "generators descend the weighted sum, the segmentors L_hint and L_seg without weights. It costs a second "
        "pass through the segmentors.",
    )

    @property
    def needs_pseudo(self) -> bool:
        """Whether the teacher has to look at translated images."""
        return bool(self.teacher_pseudo or self.hint or self.output)


@dataclass(frozen=True)
class Optimization:
    """Adam, its schedule, and when to stop (section III-C)."""

    batch: int = setting(2, low=1, high=65536)
    learning_rate: float = setting(2e-4, low=0, high=1e38, help="Of the segmentors.")
    translation_learning_rate: float = setting(1e-4, low=0, high=1e38)
    schedule: str = setting(
        "constant",
        choices=("constant", "cosine"),
        help="constant (paper) or cosine (linear warm-up over 2 % of the steps, then a cosine to zero).",
    )
    epochs: int = setting(100, low=1, high=1e9)
    patience: int = setting(
        20, low=1, high=1e9, help="Epochs without a better validation loss after which training ends (early stopping)."
    )
    validate_every: int = setting(1, low=1, high=1e9, help="Epochs from one validation to the next.")
    sampling: str = setting(
        "uniform",
        choices=("uniform", "patient"),
        help="uniform over slices, or patient: slices weighted by one over the root of their patient's count.",
    )
    ema_half_life_steps: float = setting(
        0.0,
        low=0,
        high=1e9,
        help="Half-life of the exponential moving average of the student's weights; 0 switches it off.",
    )
    precision: str = setting("fp32", choices=("fp32", "bf16"), help="fp32 or bf16 (autocast; losses stay in fp32).")
    graph: bool = setting(False, help="The whole step as one CUDA graph; one process on an NVIDIA GPU alone.")
    compile: bool = setting(
        False, help="The networks through torch.compile, which takes minutes before the first step."
    )


@dataclass(frozen=True)
class Configuration:
    """Everything a run needs to be started, and started again."""

    method: str = "ct-only"
    preset: str = "paper"
    cohort: str = setting("", help="Absolute path of the cohort's CSV.")
    initial: str = setting("", help="Student file whose weights training starts from; empty: from scratch.")
    seed: int = setting(0, low=0, high=1e9)
    device: str = "auto"
    labels: tuple[str, ...] = ("Tumor",)
    network: Network = Network()
    images: Images = Images()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    translation: TranslationSettings = field(default_factory=TranslationSettings)
    features: str = setting(
        "vgg19",
        help="Where the contextual loss's features come from: vgg19 or vgg16 (downloaded, hash checked), a file of "
        "such weights, or random.",
    )
    distillation: Distillation = Distillation()
    optimization: Optimization = setting(Optimization(), formerly="optimisation")
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
        return json.dumps(write(self), indent=2, ensure_ascii=False) + "\n"


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
        InputError: not JSON, an unknown, wrongly typed or senseless entry, or a format this program does not know.
    """
    try:
        tree = parse_object(text)
    except ValueError as error:
        raise InputError(f"The run's configuration.json is not JSON ({error}); restore it or start anew.") from error
    if tree.get("format") != FORMAT:
        raise InputError(f"The run's configuration.json is not of format {FORMAT}; use the program that wrote it.")
    return _configuration(tree, "In configuration.json, the setting")


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


def with_settings(configuration: Configuration, settings: Iterable[str]) -> Configuration:
    """Apply ``key=value`` settings, keys dotted (``optimization.epochs=20``), values JSON or plain text.

    Raises:
        InputError: no such key (the message lists those there are), or a value of the wrong type or out of range.
    """
    tree = write(configuration)
    for assignment in settings:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(
                f"The setting '{assignment}' is not of the form key=value; write --set optimization.epochs=20."
            )
        *groups, name = key.split(".")
        node: Any = tree
        for group in groups:
            node = node.setdefault(_NAMES_NOW.get(group, group), {})
            if not isinstance(node, dict):
                raise InputError(f"The setting '{key}' goes deeper than there are settings.")
        try:
            node[_NAMES_NOW.get(name, name)] = json.loads(text)
        except (ValueError, RecursionError):
            node[_NAMES_NOW.get(name, name)] = text
    return _configuration(tree, "The setting")


_NAMES_NOW = {entry.limits.formerly: name for name, entry in entries(Configuration).items() if entry.limits.formerly}


def _configuration(tree: dict[str, Any], what: str) -> Configuration:
    """The configuration that a tree describes; ``what`` is how an error begins, which goes on with the key."""
    with named(what):
        configuration = read(Configuration, tree)
        window, scale = configuration.images.window_hu, configuration.augmentation.scale
        if window[0] >= window[1]:
            raise wrong("images.window_hu", "a range with the lower value first", window)
        if scale[0] > scale[1]:
            raise wrong("augmentation.scale", "a range with the lower value first", scale)
    return configuration
