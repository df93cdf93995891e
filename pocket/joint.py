"""Second stage: the whole tower learns to say what it sees, in the space of a sentence encoder.

Five teachers at once, all on the same crop: the marked regions of the pools (their names), the DeepLabV3 teacher (its
features everywhere, its classes where nothing is marked), the MobileNetV2 teacher (its thousand ImageNet classes at
every location, as names), the captions of whole pictures, and the hints of the first stage.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from build_index.config import CONCEPT_PROMPTS as TEMPLATES
from pocket.blockwise import to_network
from pocket.checkpoints import SAVE_EVERY, Place, keep, kept
from pocket.material import UNLABELLED, Crops, Material, Picture
from pocket.optimiser import Optimiser
from pocket.region_loss import name_weights, region_loss
from pocket.sentences import embed_sentences, prompted
from pocket.student import CHANNELS, HINTS, STRIDE, blocks_of
from pocket.teachers import Teacher

DIMENSION = 256
SENTENCE = 384
VOC_NAMES = 20  # the names of the VOC pool come first, in the order of the DeepLabV3 teacher's classes
SHARES = {"voc_regions": 0.42, "flickr8k": 0.25, "imagenet1000": 0.12, "msrc_regions": 0.14, "camvid_train": 0.07}
HELD_OUT = 20  # one picture in so many, of those with masks, is never trained on
OTHER_CAPTIONS = 1024
MAY_BOTH_BE_TRUE = (("person", "face"), ("person", "cyclist"), ("tree", "potted plant"), ("flower", "potted plant"))
"""Pairs of names of which one is no evidence against the other."""


@dataclass(frozen=True)
class JointConfig:
    """How long and how.

    Attributes:
        steps: batches.
        batch: crops in a batch.
        side: pixels along the side of a crop.
        seed: of order and crops.
        matrices: highest rate of Muon.
        rest: highest rate of AdamW.
        features: weight of the loss of the DeepLabV3 teacher's features.
        soft: weight of the loss of its classes.
        by_region: weight of the loss of whole regions.
        name: of the checkpoint.
    """

    steps: int = 1600
    batch: int = 24
    side: int = 128
    seed: int = 0
    matrices: float = 0.03
    rest: float = 3e-3
    features: float = 0.5
    soft: float = 0.5
    by_region: float = 0.0
    name: str = "joint"


JOINT = JointConfig()


class Tower(nn.Module):
    """What is trained: trunk, projection, the reading of sentence vectors, and a head for the teacher's features."""

    def __init__(self, trunk: Any, sentences: NDArray[np.float16], channels: int = CHANNELS) -> None:
        super().__init__()
        self.trunk = trunk
        self.project = nn.Linear(channels, DIMENSION, bias=False)
        self.read = nn.Linear(SENTENCE, DIMENSION, bias=False)
        self.imitate = nn.Conv2d(channels, 256, 1)
        self.log_scale = nn.Parameter(torch.tensor(2.7))
        with torch.no_grad():
            self.read.weight.copy_(half_whitening(torch.from_numpy(sentences).float()))

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """Block outputs, and features [B, 1280, h, w]."""
        hidden, outputs = pictures, []
        for block in blocks_of(self.trunk):
            hidden = block(hidden)
            outputs.append(hidden)
        return outputs, self.trunk.bn2(self.trunk.conv_head(hidden))

    def words(self, sentences: Tensor) -> Tensor:
        """[N, 384] to unit [N, 256]."""
        return F.normalize(self.read(sentences), dim=-1)

    def scale(self) -> Tensor:
        """What cosines are multiplied with."""
        return self.log_scale.clamp(max=4.0).exp()


def half_whitening(sentences: Tensor) -> Tensor:
    """[256, 384]: principal components, each divided by the square root of its deviation."""
    centred = sentences - sentences.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(sentences))
    values, vectors = values.flip(0)[:DIMENSION], vectors.flip(1)[:, :DIMENSION]
    return (vectors / values.clamp(min=1e-8) ** 0.25).T


def new_tower(material: Material, place: Place, trunk: Any, seed: int) -> Tower:
    """A tower around a trunk, on its device; its reading is fitted to the captions of the pools."""
    sentences = embed_sentences(captions_of(material), place.work)
    torch.manual_seed(seed)
    return Tower(trunk, sentences).to(place.device)


def captions_of(material: Material) -> list[str]:
    """Every caption of a picture, in order."""
    return [text for picture in material.pictures if picture.pool == "flickr8k" for text in picture.texts]


def train_tower(material: Material, place: Place, tower: Tower, config: JointConfig) -> Tower:
    """Train the whole tower in place; its checkpoint in the work folder is gone on from.

    Args:
        material: pictures, regions and captions.
        place: where this runs.
        tower: what is trained; parameters that ask for no gradient stay as they are.
        config: how long and how.

    Returns:
        The tower in evaluation mode.
    """
    names = Names.read(material, place)
    tower.train()
    optimiser = Optimiser([tower], matrices=config.matrices, rest=config.rest)
    guides = Guides(place)
    draw = Draw(material, torch.from_numpy(embed_sentences(captions_of(material), place.work)).float())
    checkpoint = place.work / f"{config.name}.pt"
    state, first = kept(checkpoint), 0
    if state is not None:
        tower.load_state_dict(state["tower"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    for step in range(first, config.steps):
        batch = draw(np.random.default_rng((config.seed, step)), config, place.device)
        losses = losses_of(tower, batch, guides, names, config)
        optimiser.step(torch.stack(list(losses.values())).sum(), step / config.steps)
        if step % 50 == 0 or step == config.steps - 1:
            place.report(step, " ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items()))
        if step % SAVE_EVERY == SAVE_EVERY - 1 or step == config.steps - 1:
            state = {"tower": tower.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            keep(checkpoint, state)
            place.report(step, "held out: " + held_out(tower, material, names))
    return tower.eval()


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


@dataclass(frozen=True)
class Batch:
    """What one step looks at.

    Attributes:
        pictures: [B, 3, S, S] in [-1, 1].
        regions: [B, h, w], number of the name at every location, 255 without one.
        unmarked: bool [B], where the DeepLabV3 teacher's classes are listened to.
        captions: [n, 384], sentence vectors of the captions of some pictures.
        captioned: [n], which pictures they are.
        others: [1024, 384], captions of any pictures.
        template: which prompt names are read in.
    """

    pictures: Tensor
    regions: Tensor
    unmarked: Tensor
    captions: Tensor
    captioned: Tensor
    others: Tensor
    template: int


class Draw:
    """Draws batches with fixed shares of the pools."""

    def __init__(self, material: Material, sentences: Tensor) -> None:
        self._pools = {pool: [picture for picture in material.pictures if picture.pool == pool] for pool in SHARES}
        for pool in material.named_in:
            self._pools[pool] = [picture for index, picture in enumerate(self._pools[pool]) if index % HELD_OUT]
        self._sentences = sentences
        starts = np.cumsum([0] + [len(picture.texts) for picture in self._pools["flickr8k"]])
        self._first_caption = {id(picture): int(s) for picture, s in zip(self._pools["flickr8k"], starts, strict=False)}

    def __call__(self, random: np.random.Generator, config: JointConfig, device: str) -> Batch:
        """A batch for one step."""
        crops = Crops(config.side)
        pools = random.choice(list(SHARES), config.batch, p=list(SHARES.values()))
        chosen: list[Picture] = [self._pools[pool][random.integers(len(self._pools[pool]))] for pool in pools]
        drawn, captions = [], []
        for picture in chosen:
            whole = picture.pool == "flickr8k" and random.random() < 0.7
            drawn.append((replace(crops, zoom=(0.9, 1.15)) if whole else crops).draw(picture, random))
            if whole:
                captions.append(self._first_caption[id(picture)] + int(random.integers(len(picture.texts))))
            else:
                captions.append(-1)
        numbers = torch.tensor(captions)
        step = slice(STRIDE // 2, None, STRIDE)
        regions = torch.from_numpy(np.stack([crop[1][step, step] for crop in drawn])).long()
        return Batch(
            pictures=to_network(np.stack([crop[0] for crop in drawn])).to(device),
            regions=regions.to(device),
            unmarked=torch.tensor([picture.pool != "voc_regions" for picture in chosen]).to(device),
            captions=self._sentences[numbers[numbers >= 0]].to(device),
            captioned=(numbers >= 0).nonzero()[:, 0].to(device),
            others=self._sentences[random.integers(len(self._sentences), size=OTHER_CAPTIONS)].to(device),
            template=int(random.integers(len(TEMPLATES))),
        )


class Guides(nn.Module):
    """The two image teachers."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        teachers, device = place.teachers, place.device
        self.deeplab = Teacher(teachers / "deeplabv3_mnv2_pascal_quant.tflite").eval().to(device)
        self.mobilenet = Teacher(teachers / "tf2_mobilenet_v2_1.0_224_ptq.tflite").eval().to(device)
        self._classifier = next(step for step in self.mobilenet.steps if step.writes == 173)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Hints; DeepLabV3's features [B, 256, h, w] and classes [B, 21, h, w]; ImageNet classes [B, 1000, h, w]."""
        *hints, features, classes = self.deeplab(pictures, [*HINTS, 180, 182], stride=STRIDE)
        (dense,) = self.mobilenet(pictures, [171], stride=STRIDE)
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


@torch.inference_mode()
def held_out(tower: Tower, material: Material, names: Names, short_side: int = 320, most: int = 160) -> str:
    """Accuracy of the names of marked regions on pictures that were not trained on."""
    tower.eval()
    words = tower.words(names.regions.mean(0).to(tower.log_scale.device)).cpu()
    lines = []
    for pool, own in material.named_in.items():
        pictures = [picture for picture in material.pictures if picture.pool == pool][::HELD_OUT][:most]
        right = total = 0
        for picture in pictures:
            vectors, truth = region_vectors(tower, picture, short_side)
            if len(truth):
                said = torch.tensor(own)[(vectors @ words[list(own)].T).argmax(1)]
                right, total = right + int((said == truth).sum()), total + len(truth)
        lines.append(f"{pool} {right / max(total, 1):.3f} of {total}")
    tower.train()
    return ", ".join(lines)


def region_vectors(tower: Tower, picture: Picture, short_side: int) -> tuple[Tensor, Tensor]:
    """Mean vector of every marked region: unit [R, 256], and its name [R]."""
    height, width = picture.pixels.shape[:2]
    factor = short_side / min(height, width)
    size = (round(height * factor / STRIDE) * STRIDE, round(width * factor / STRIDE) * STRIDE)
    pictures = F.interpolate(to_network(picture.pixels[None]), size, mode="bicubic", antialias=True)
    _, features = tower(pictures.to(tower.log_scale.device))
    dense = tower.project(features[0].permute(1, 2, 0)).flatten(0, 1).cpu()  # [h * w, 256]
    assert picture.regions is not None
    found = [int(name) for name in np.unique(picture.regions) if name != UNLABELLED]
    masks = torch.stack([torch.from_numpy(picture.regions == name).float() for name in found]) if found else None
    if masks is None:
        return dense[:0], torch.zeros(0, dtype=torch.long)
    cells = F.interpolate(masks[None], features.shape[2:], mode="area")[0].flatten(1)  # [R, h * w]
    return F.normalize(cells @ dense / cells.sum(1, keepdim=True).clamp(min=1e-6), dim=-1), torch.tensor(found)
