"""Kinema's own protocol: the masks that a laptop gives in a reasonable time. Free of torch.

It was tuned on the train list of DAVIS-7 and on generated clips alone. Published numbers are made under published
protocols; this one is for labeling videos. What each choice brought is in docs/protocols.md.
"""

from dataclasses import replace

from kinema.propagation.propagation_config import PropagationConfig
from kinema.protocols.protocol import JointSettings, Protocol
from kinema.settings import FeatureSettings, InputSize

_KINEMA_1 = Protocol(
    name="kinema_1",
    version=1,
    source="Kinema, tuned for its built-in encoder: 720 pixels, because objects then cover more tokens; the middle "
    "block, which carries better than the last and costs half as much; attention in shifted windows of "
    "about the training size, which is faster and no worse. The rest is DINO's lineage.",
    features=FeatureSettings(
        size=InputSize(short_side=720, multiple=16), layer=0, attention_window=8, positions="interpolated_offset"
    ),
    propagation=PropagationConfig(
        context=7,
        window="square",
        radius=18,
        window_covers_first=True,
        top_k=5,
        temperature=0.1,
        normalization="exp_divide",
    ),
    first_labels="bilinear",
    keep_small=True,
    min_max=True,
    to_native="center",
    joints=JointSettings(),
)
_AS_DAVIS = "tuned for DAVIS; everything the same here"
KINEMA_1 = (
    _KINEMA_1,
    replace(_KINEMA_1, benchmark="ytvos", extension=_AS_DAVIS),
    replace(_KINEMA_1, benchmark="vip", extension=_AS_DAVIS),
    replace(_KINEMA_1, benchmark="jhmdb", extension=_AS_DAVIS),
)
