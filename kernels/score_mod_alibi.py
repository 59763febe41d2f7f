"""Flash attention with a linear bias by distance (ALiBi): ``score_mod`` under the name of its cascade.

Modelled: see ``score_mod``; the annotation fixes the choice, because another cascade is computed.
"""

from dse.kernels.score_mod import make_inputs, score_mod

score_mod_alibi = score_mod

__all__ = ["make_inputs", "score_mod_alibi"]
