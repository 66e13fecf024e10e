"""Kinema's own protocol, for labeling videos in reasonable time on a laptop. Does not import torch.

It was tuned only on training sequences of DAVIS and on generated clips. Numbers that are compared with published ones
use published protocols instead. docs/protocols.md says what each choice gained.
"""

from dataclasses import replace

from kinema.protocols.dino import DINO_480P
from kinema.settings import FeatureSettings, InputSize

(_DINO,) = DINO_480P
_KINEMA_1 = replace(
    _DINO,
    name="kinema_1",
    version=2,
    source="Kinema, tuned for its built-in ViT-Ti/8: 480 pixels, which are 60 tokens; the middle block, which "
    "propagates better than the last one at half the cost; attention in shifted windows of the training size, which "
    "is faster and no worse. The rest is as in DINO's lineage. Networks with patches of 16 pixels need 720 pixels and "
    "a radius of 18.",
    features=FeatureSettings(
        size=InputSize(short_side=480, multiple=16), layer=0, attention_window=8, positions="interpolated_offset"
    ),
    propagation=replace(_DINO.propagation, radius=24),
    first_labels="bilinear",
    keep_small=True,
)
_AS_DAVIS = "tuned for DAVIS; everything is the same here"
KINEMA_1 = (
    _KINEMA_1,
    replace(_KINEMA_1, benchmark="ytvos", extension=_AS_DAVIS),
    replace(_KINEMA_1, benchmark="vip", extension=_AS_DAVIS),
    replace(_KINEMA_1, benchmark="jhmdb", extension=_AS_DAVIS),
)
