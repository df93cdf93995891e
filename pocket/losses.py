"""What the tower is told about a batch: names of regions and of ImageNet, two image teachers, captions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocket.batches import Batch
from pocket.checkpoints import Place
from pocket.config import JOINT, JointConfig
from pocket.material import UNLABELLED, Material
from pocket.region_loss import name_weights, region_loss
from pocket.sentences import embed_sentences, prompted
from pocket.student import HINTS, STRIDE
from pocket.teachers import Teacher
from pocket.tower import SENTENCE, Tower

VOC_NAMES = 20  # the names of the VOC pool come first, in the order of the DeepLabV3 teacher's classes
MAY_BOTH_BE_TRUE = (("person", "face"), ("person", "cyclist"), ("tree", "potted plant"), ("flower", "potted plant"))
"""Pairs of names of which one is no evidence against the other."""


@dataclass(frozen=True)
class Names:
    """Sentence vectors of names, [templates, N, 384] each; which regions' names exclude each other; their weights."""

    regions: Tensor
    imagenet: Tensor
    exclusive: Tensor
    weights: Tensor

    @staticmethod
    def read(material: Material, place: Place) -> "Names":
        """The names of the material's regions and of the ImageNet classes."""
        labels = (place.teachers / "imagenet_labels.txt").read_text().strip().split("\n")[1:]
        imagenet = [label.split(",")[0].strip() for label in labels]
        exclusive = torch.ones(len(material.names), len(material.names), dtype=torch.bool)
        for one, other in MAY_BOTH_BE_TRUE:
            a, b = material.names.index(one), material.names.index(other)
            exclusive[a, b] = exclusive[b, a] = False
        vectors = [
            torch.from_numpy(embed_sentences(prompted(some), place.work)).float().reshape(-1, len(some), SENTENCE)
            for some in (list(material.names), imagenet)
        ]
        return Names(vectors[0], vectors[1], exclusive, name_weights(material))


class Guides(nn.Module):
    """The two image teachers."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        teachers, device = place.teachers, place.device
        self.deeplab = Teacher(teachers / "deeplabv3_mnv2_pascal_quant.tflite").eval()
        self.mobilenet = Teacher(teachers / "tf2_mobilenet_v2_1.0_224_ptq.tflite").eval()
        self.to(device).to(memory_format=torch.channels_last)
        self._classifier = next(step for step in self.mobilenet.steps if step.writes == 173)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Hints; DeepLabV3's features [B, 256, h, w] and classes [B, 21, h, w]; ImageNet classes [B, 1000, h, w]."""
        with torch.autocast(pictures.device.type, torch.bfloat16):  # they were quantised to 8 bits anyway
            found = self.deeplab(pictures, [*HINTS, 180, 182], stride=STRIDE)
            found += self.mobilenet(pictures, [171], stride=STRIDE)
        *hints, features, classes, dense = (tensor.float() for tensor in found)
        weight, bias = (
            getattr(self.mobilenet, f"{kind}{number}")
            for kind, number in zip(("weight", "bias"), self._classifier.reads[1:], strict=True)
        )
        return hints, features, classes.softmax(1), F.conv2d(dense, weight, bias)[:, 1:].softmax(1)


def losses_of(
    tower: Tower, batch: Batch, guides: Guides, names: Names, config: JointConfig = JOINT
) -> dict[str, Tensor]:
    """Each loss with its weight in it."""
    hints, teacher_features, classes, imagenet = guides(batch.pictures)
    outputs, features = tower(batch.pictures)
    hinted = [F.mse_loss(own, hint) / hint.var() for own, hint in zip(outputs, hints, strict=False)][4::3]
    projected = tower.project(features.permute(0, 2, 3, 1))
    dense = F.normalize(projected, dim=-1)  # [B, h, w, 256]
    scale = tower.scale()

    words = tower.words(names.regions[batch.template].to(dense.device))
    marked = batch.regions != UNLABELLED
    truth = batch.regions[marked]
    exclusive = names.exclusive.to(dense.device)

    def logits_of(vectors: Tensor, truth: Tensor) -> Tensor:
        return (scale * vectors @ words.T).masked_fill(~exclusive[truth], -1e4)

    named = F.cross_entropy(logits_of(dense[marked], truth), truth, reduction="sum") / max(len(truth), 1)

    voc = (scale * dense @ words[:VOC_NAMES].T).log_softmax(-1)
    target = classes[:, 1:].permute(0, 2, 3, 1)
    soft = -((target * voc).sum(-1).mean((1, 2)) * batch.unmarked).mean()

    thousand = tower.words(names.imagenet[batch.template].to(dense.device))
    seen = -(imagenet.permute(0, 2, 3, 1) * (scale * dense @ thousand.T).log_softmax(-1)).sum(-1).mean()

    losses = {
        "hints": 0.5 * torch.stack(hinted).mean() if hinted else torch.zeros(()),
        "features": config.features * F.mse_loss(tower.imitate(features), teacher_features) / teacher_features.var(),
        "named": 1.0 * named,
        "soft": config.soft * soft,
        "imagenet": 0.25 * seen,
    }
    if config.by_region:
        losses["regions"] = config.by_region * region_loss(
            projected, batch.regions, logits_of, names.weights.to(dense.device)
        )
    if len(batch.captioned):
        pooled = F.normalize(tower.project(features[batch.captioned].mean((2, 3))), dim=-1)
        texts = tower.words(torch.cat([batch.captions, batch.others]))
        losses["captions"] = 0.25 * F.cross_entropy(
            scale * pooled @ texts.T, torch.arange(len(pooled), device=dense.device)
        )
    return losses
