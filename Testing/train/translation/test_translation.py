"""The translations as the engine meets them: parameters, what they share, precision, layout, students made of them."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from CMEDLSegmentLib.base.errors import InputError, ModelError
from CMEDLSegmentLib.models.model_card import NetworkSpec
from CMEDLSegmentLib.models.model_file import load_model, save_model
from CMEDLSegmentLib.networks import create_network
from CMEDLTrainLib.settings.translation_settings import TranslationSettings
from CMEDLTrainLib.translation import TRANSLATIONS, create
from CMEDLTrainLib.translation.discriminators import ContentDiscriminator, PatchDiscriminator
from CMEDLTrainLib.translation.image_pool import ImagePool
from segment.models.making import a_card
from train.training.tiny_runs import environment
from train.translation import translation_reference as reference

SMALL = TranslationSettings(width=4, blocks=1, pool=3)


def difference(generated, target):
    return (generated.float() - target.float()).square().mean()


def narrow(kind, **changes):
    torch.manual_seed(0)
    return create(dataclasses.replace(SMALL, kind=kind, **changes), difference)


def images(seed, n=2, side=32):
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


def test_generators_and_discriminators_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        translation = create(TranslationSettings(), difference)
    counts = {name: round(parameters(network) / 1e6, 2) for name, network in translation.networks.items()}
    assert counts == {
        "to_teacher": 11.37,
        "to_student": 11.37,
        "judge_teacher": 2.76,
        "judge_student": 2.76,
        "pool_teacher": 0,
        "pool_student": 0,
    }


def test_drit_has_the_papers_depth():
    """Section III-B: generators with 6 residual blocks; DRIT's 8 codes."""
    with torch.device("meta"):
        networks = create(TranslationSettings(kind="drit"), None).networks
    assert len(networks["to_teacher"].generator.blocks) == len(networks["to_student"].blocks) == 6
    assert networks["style_teacher"].mean.out_features == 8
    assert parameters(networks["judge_teacher"]) == 2_762_689


def test_the_patch_discriminator_sees_patches_of_70_pixels():
    """Without norms, which look at the whole image: how far one score's gradient reaches."""
    judge = PatchDiscriminator(width=2).double()
    judge.norm = torch.nn.Identity()
    image = torch.rand(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
    scores = judge(image)
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    rows, columns = image.grad[0, 0].nonzero().T
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 70


def test_the_smallest_image_has_a_score_and_content_of_any_size_too():
    assert PatchDiscriminator(width=2)(images(0, side=PatchDiscriminator.SMALLEST)).shape == (2, 1, 1, 1)
    for side in (2, 3, 16):
        assert ContentDiscriminator(4)(torch.rand(1, 4, side, side)).isfinite().all()


@pytest.mark.parametrize("judge", [PatchDiscriminator(1, 3), ContentDiscriminator(4)])
def test_a_discriminator_scores_real_and_generated_images_alike_alone_or_together(judge):
    channels = 1 if isinstance(judge, PatchDiscriminator) else 4
    real, fake = torch.rand(2, channels, 32, 32), 3 * torch.rand(2, channels, 32, 32) - 4
    apart = torch.cat((judge(real), judge(fake)))
    torch.testing.assert_close(judge(torch.cat((real, fake))), apart, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", TRANSLATIONS)
def test_every_network_is_updated_in_exactly_one_phase_or_is_a_pool(kind):
    translation = narrow(kind)
    learning = {name for name, network in translation.networks.items() if not isinstance(network, ImagePool)}
    assert sorted((*translation.generators, *translation.discriminators)) == sorted(learning)
    assert {spec.name for spec in translation.student_specs} <= set(translation.generators)


@pytest.mark.parametrize("kind", TRANSLATIONS)
def test_losses_are_float32_and_finite_under_bfloat16(kind):
    translation = narrow(kind, identity=1.0)
    shared = {}
    with torch.autocast("cpu", torch.bfloat16):
        losses = translation.generator_losses(images(1), images(2), shared)
        losses |= translation.discriminator_losses(images(1), images(2), shared, torch.Generator())
    for name, loss in losses.items():
        assert loss.dtype == torch.float32 and loss.isfinite(), name  # noqa: PT018 - named above


@pytest.mark.parametrize("kind", TRANSLATIONS)
def test_channels_last_is_kept_by_every_layer(kind):
    translation = narrow(kind)
    lost = []

    def look(name):
        def hook(module, inputs, output):
            if output.shape[1] > 1 and output.shape[-1] > 1 and not _is_last(output):
                lost.append(name)
            if inputs[0].shape[1] > 1 and inputs[0].shape[-1] > 1 and not _is_last(inputs[0]):
                lost.append(f"into {name}")

        return hook

    for name, network in translation.networks.items():
        network.to(memory_format=torch.channels_last)
        for key, part in network.named_modules():
            if isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                part.register_forward_hook(look(f"{name}.{key}"))
    student, teacher = (images(seed).contiguous(memory_format=torch.channels_last) for seed in (1, 2))
    shared = {}
    translation.generator_losses(student, teacher, shared)
    translation.discriminator_losses(student, teacher, shared, torch.Generator())
    assert not lost


def _is_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", TRANSLATIONS)
@pytest.mark.parametrize("size", [(32, 32), (37, 45)])
def test_a_student_with_the_translation_translates_as_in_training(kind, size, tmp_path):
    """Saved with a segmentor that reads the pseudo MRI, loaded, and run on an image of any size."""
    translation = narrow(kind)
    with torch.no_grad():
        for weight in translation.networks["to_teacher"].parameters():
            weight.mul_(3)
    segmentor = create_network("unet", width=2).eval()
    specs = (*translation.student_specs, NetworkSpec("segmentor", "unet", {"width": 2}, ("to_teacher",)))
    modules = {name: translation.networks.get(name, segmentor) for name in ("to_teacher", "segmentor")}
    save_model(tmp_path / "pmri.safetensors", a_card(networks=specs), modules)
    image = torch.rand(1, 1, *size) * 2 - 1
    with torch.no_grad():
        pseudo = translation.translate(image, translation.networks)
        expected = segmentor(pseudo)[0]
        segmented = load_model(tmp_path / "pmri.safetensors").build()(image)
    assert pseudo.shape == image.shape
    assert pseudo.abs().max() <= 1
    torch.testing.assert_close(segmented, expected)


@pytest.mark.parametrize("kind", TRANSLATIONS)
def test_an_average_of_the_networks_can_translate_in_their_place(kind):
    translation, other = narrow(kind), narrow(kind)
    with torch.no_grad():
        for weight in other.networks["to_teacher"].parameters():
            weight.mul_(2)
        expected = other.translate(images(1), other.networks)
        assert torch.equal(translation.translate(images(1), other.networks), expected)
        assert not torch.equal(translation.translate(images(1), translation.networks), expected)


def test_drit_translates_in_the_mean_style_at_test_time():
    translation = narrow("drit").networks["to_teacher"].double()
    image = images(1).double()
    state = dict(translation.state_dict())
    code = reference.content(reference.below(state, "content"), image)
    expected = reference.draw(reference.below(state, "generator"), code, torch.zeros(2, 8, dtype=torch.float64))
    torch.testing.assert_close(translation(image), expected)


def test_drit_refuses_batches_that_it_cannot_pair():
    with pytest.raises(InputError, match=r"student has 2 .*optimization\.batch=2"):
        narrow("drit").generator_losses(images(1), images(2, n=3), {})
    with pytest.raises(InputError, match=r"teacher has 1 .*optimization\.batch=1"):
        narrow("drit").generator_losses(images(1), images(2, n=1), {})


def test_cyclegan_takes_batches_of_different_numbers():
    translation, shared = narrow("cyclegan", identity=1.0, contextual=0.0), {}
    translation.generator_losses(images(1), images(2, n=3), shared)
    translation.discriminator_losses(images(1), images(2, n=3), shared, torch.Generator())
    numbers = {name: len(shared[name]) for name in ("pseudo_teacher", "back_student", "pseudo_student", "back_teacher")}
    assert numbers == {"pseudo_teacher": 2, "back_student": 2, "pseudo_student": 3, "back_teacher": 3}


def test_what_no_loss_asks_for_is_not_made():
    translation, shared = narrow("cyclegan", cycle=0.0, contextual=0.0, pool=0), {}
    losses = translation.generator_losses(images(1), images(2), shared)
    assert sorted(losses) == ["adversarial_student", "adversarial_teacher"]
    assert sorted(shared) == ["pseudo_student", "pseudo_teacher"]
    assert sorted(translation.networks) == ["judge_student", "judge_teacher", "to_student", "to_teacher"]


@pytest.mark.parametrize(
    ("changes", "contextual", "error", "named"),
    [
        ({"kind": "unit"}, difference, InputError, "'unit'"),
        ({}, None, InputError, "contextual"),
        ({"gan": "wgan"}, difference, InputError, "'wgan'"),
        ({"kind": "drit", "gan": "wgan"}, None, InputError, "'wgan'"),
        ({"blocks": -1}, difference, ModelError, "'blocks'"),
        ({"kind": "drit", "codes": 0}, None, ModelError, "'codes'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(changes, contextual, error, named):
    with pytest.raises(error, match=named):
        create(dataclasses.replace(SMALL, **changes), contextual)


def test_settings_are_read_without_torch():
    code = "import sys; from CMEDLTrainLib.translation import TranslationSettings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment()).returncode == 0
