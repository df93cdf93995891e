"""What one step looks at, drawn from the pools in fixed shares."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pocket.blockwise import to_network
from pocket.config import JointConfig
from pocket.material import Crops, Material, Picture
from pocket.sentences import TEMPLATES
from pocket.student import STRIDE

SHARES = {"voc_regions": 0.42, "flickr8k": 0.25, "imagenet1000": 0.12, "msrc_regions": 0.14, "camvid_train": 0.07}
HELD_OUT = 20  # one picture in so many, of those with masks, is never trained on
OTHER_CAPTIONS = 1024


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
